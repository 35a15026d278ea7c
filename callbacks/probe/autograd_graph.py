"""Autograd graph: operations, what they are computed from, and walks over both.

The names of autograd's nodes tell operations apart (`AddmmBackward0`), `next_functions` joins them, and the nodes of
parameters hold these as `variable`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

Node = Any
"""Node of the autograd graph, `torch.autograd.graph.Node`."""

VIEWS = {
    *("View", "UnsafeView", "ReshapeAlias", "Permute", "Transpose", "T", "Expand"),
    *("Squeeze", "Unsqueeze", "Clone", "ToCopy", "Alias", "AsStrided", "Contiguous"),
    *("Slice", "Select", "Index", "MaskedSelect", "Movedim", "Flatten"),
}
"""Operations that move values and leave them as they are."""

DROPOUTS = {"NativeDropout", "FusedDropout"}

MOST_NODES = 200_000
"""Nodes of a graph that are read at most."""


def operation(node: Node) -> str:
    """Returns the name of an operation: "Addmm" of `AddmmBackward0`."""
    name = node.name().rsplit("::", 1)[-1]
    return name.split("Backward")[0]


def inputs_of(node: Node) -> list[Node]:
    """Returns the nodes that an operation's inputs with gradients come from."""
    return [source for source, _ in node.next_functions if source is not None]


def walk(
    root: Node, continues: Callable[[Node], bool] = lambda _: True
) -> Iterator[Node]:
    """Yields the nodes that a node is computed from, itself first; ends paths at nodes that do not continue."""
    seen: set[Node] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        if continues(node):
            waiting += inputs_of(node)


def past(node: Node, skipped: set[str]) -> Node:
    """Returns the first node, from a node on towards the inputs, that is none of the skipped operations.

    Dropout is also a product with a mask, which has no gradient.
    """
    while True:
        sources = inputs_of(node)
        is_mask = operation(node) == "Mul" and "NativeDropout" in skipped
        if len(sources) != 1 or not (operation(node) in skipped or is_mask):
            return node
        node = sources[0]


def ends_of(node: Node, users: Mapping[Node, list[Node]]) -> Iterator[Node]:
    """Yields the nodes that are computed from a node through nothing but views and dropout."""
    for user in users.get(node, ()):
        if past(user, VIEWS | DROPOUTS) is user:
            yield user
        else:
            yield from ends_of(user, users)


def parameter_at(node: Node) -> Tensor | None:
    """Returns the parameter that a node passes on, through views and changes of type; None if it computes anything."""
    node = past(node, VIEWS)
    return (
        getattr(node, "variable", None) if operation(node) == "AccumulateGrad" else None
    )
