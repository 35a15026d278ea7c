"""Looks at what layers are given and return, for as long as one training batch; changes nothing."""

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

See = Callable[[str, nn.Module, Tensor], None]
"""Takes the name of a layer, followed by the path within its output, the layer, and a tensor."""


class LayerHooks:
    """Calls back with the tensors that layers return, in the calls that training is made of.

    Those are the calls with gradients enabled; not the second one that activation checkpointing makes of a layer in
    the course of the backward pass.

    Args:
        layers: By name.
        safely: Called with a function and its arguments; calls it so that nothing it raises gets into the model.
        returned: Called with every floating point tensor that a layer returns.
        given: Called with the first such tensor that a layer is given, before it could overwrite it.
        given_of: The layers of which that is wanted.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        safely: Callable[..., None],
        returned: See,
        given: See,
        given_of: Container[nn.Module] = (),
    ) -> None:
        self.layers, self.safely, self.returned, self.given, self.given_of = layers, safely, returned, given, given_of
        self.handles: list[RemovableHandle] = []
        self.seen_forward: set[str] = set()
        self.has_seen = False
        """Whether any layer has ever been called."""

    def attach(self) -> None:
        """Begins to look."""
        self.detach()
        self.seen_forward.clear()
        for name, layer in self.layers.items():
            self.handles.append(layer.register_forward_hook(_After(self, name)))
            if layer in self.given_of:
                self.handles.append(layer.register_forward_pre_hook(_Before(self, name), with_kwargs=True))

    def detach(self) -> None:
        """Looks no more; does nothing if it does not look."""
        while self.handles:
            self.handles.pop().remove()

    def see_returned(self, name: str, layer: nn.Module, output: Any) -> None:
        """Hands on what a layer has returned."""
        self.has_seen = True
        if not in_backward():
            self.seen_forward.add(name)
        for path, tensor in floating_tensors(output):
            self.returned(name + path, layer, tensor)

    def see_given(self, name: str, layer: nn.Module, given: Any) -> None:
        """Hands on what a layer is given."""
        for _, tensor in islice(floating_tensors(given), 1):
            self.given(name, layer, tensor)

    def counts(self, name: str) -> bool:
        """Tells whether a call of a layer is one that training is made of."""
        if torch.compiler.is_compiling():  # would be compiled along, and change what is compiled
            return False
        # Reentrant checkpointing takes no gradients the first time, so that there it is the second that counts.
        return torch.is_grad_enabled() and not (in_backward() and name in self.seen_forward)


class _Hook:
    """A hook that a copy of its layer does not have, in effect: neither a deep copy nor what is read from a file."""

    def __init__(self, hooks: LayerHooks, name: str) -> None:
        self.hooks, self.name = hooks, name

    def __deepcopy__(self, memo: Any) -> Callable[..., None]:
        return no_hook

    def __reduce__(self) -> tuple[Any, ...]:
        return _read_no_hook, ()


class _After(_Hook):
    def __call__(self, layer: nn.Module, _given: Any, output: Any) -> None:
        if self.hooks.counts(self.name):
            self.hooks.safely(self.hooks.see_returned, self.name, layer, output)


class _Before(_Hook):
    def __call__(self, layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self.hooks.counts(self.name):
            self.hooks.safely(self.hooks.see_given, self.name, layer, (given, named))


def no_hook(*_: Any) -> None:
    """Does nothing."""


def _read_no_hook() -> Callable[..., None]:
    return no_hook


def in_backward() -> bool:
    """Tells whether this code runs in the course of a backward pass.

    That is what activation checkpointing's second call of a layer can be told by. PyTorch has no public way to ask.
    """
    return torch._C._current_graph_task_id() != -1


def floating_tensors(output: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Walks through tuples, lists, dicts and dataclasses.

    Yields:
        The path of each strided floating point tensor, such as "", ".0", ".1.0" or ".hidden", and the tensor.

    Example:
        >>> found = floating_tensors((torch.zeros(2), {"hidden": [torch.zeros(3), 7, None]}))
        >>> [(path, tuple(tensor.shape)) for path, tensor in found]
        [('.0', (2,)), ('.1.hidden.0', (3,))]
    """
    if isinstance(output, Tensor):
        if output.is_floating_point() and output.layout == torch.strided:
            yield path, output
        return
    if isinstance(output, Mapping):
        parts = list(output.items())
    elif isinstance(output, list | tuple):
        parts = list(enumerate(output))
    elif is_dataclass(output) and not isinstance(output, type):
        parts = [(field.name, getattr(output, field.name)) for field in fields(output)]
    else:
        return
    for name, part in parts:
        yield from floating_tensors(part, f"{path}.{name}")
