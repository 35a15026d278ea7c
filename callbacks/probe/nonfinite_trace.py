"""Traces NaN and infinities to the operation that made them of finite values, forward and backward."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .autograd_graph import MOST_NODES, inputs_of, operation, walk
from .distributed import own_values
from .layer_hooks import floating_tensors

DELIBERATE = {
    *("masked_fill", "fill", "full", "full_like", "new_full", "where", "scalar_tensor"),
    *("masked_fill_", "fill_", "zeros", "empty", "lift_fresh", "scatter", "index_put_"),
    *("constant_pad_nd", "copy_", "_to_copy", "tril", "triu", "index_fill"),
}
"""Operations that write infinities on purpose, such as the mask of an attention."""


@dataclass
class Event:
    """Operation whose output is not finite.

    Attributes:
        operation: Name of the operation.
        layer: Innermost module that called it.
        count: Number of values that are not finite.
        is_deliberate: Whether the output has infinities on purpose only.
        causes: Earlier events whose outputs it read.
        sources: Inputs that were not finite and that no event made: parameters, or the batch.
        output: The output, kept so that its identity stays.
    """

    operation: str
    layer: str
    count: int
    is_deliberate: bool
    causes: list["Event"]
    sources: list[Tensor]
    output: Tensor


@dataclass
class Calls:
    """Modules that are being called, and the autograd nodes that each of them has made.

    Attributes:
        names: Names of modules.
        stack: Names of the modules that are being called, the innermost last.
        owners: Innermost module by autograd node.
    """

    names: Mapping[nn.Module, str]
    stack: list[str] = field(default_factory=list)
    owners: dict[Any, str] = field(default_factory=dict)
    _entries: list[set[Any]] = field(default_factory=list)

    def attach(self) -> None:
        """Hooks all modules; what restores the model removes the hooks."""
        for module in self.names:
            module.register_forward_pre_hook(self._begin, with_kwargs=True)
            module.register_forward_hook(self._end, always_call=True)

    def _begin(self, module: nn.Module, arguments: Any, keywords: Any) -> None:
        self.stack.append(self.names[module])
        self._entries.append(_nodes_of((arguments, keywords)))

    def _end(self, module: nn.Module, arguments: Any, output: Any) -> None:
        if not self.stack:
            return
        name, entries = self.stack.pop(), self._entries.pop()
        for node in _nodes_of(output) - entries:
            self.claim(node, name, entries)

    def claim(self, root: Any, name: str, entries: set[Any]) -> None:
        """Notes a module as the owner of the nodes up to its inputs that no module inside it has made."""

        def is_own(node: Any) -> bool:
            return node not in entries and self.owners.get(node, name) == name

        for node in islice(walk(root, is_own), MOST_NODES):
            if node not in entries:
                self.owners.setdefault(node, name)


def _nodes_of(value: Any) -> set[Any]:
    nodes = {tensor.grad_fn for _, tensor in floating_tensors(value)}
    return nodes - {None}


class ForwardTrace(TorchDispatchMode):
    """Notes all operations whose output is not finite.

    Args:
        calls: Modules that are being called.
        suspects: Addresses of the tensors of the batch. Other tensors with infinities that no operation has made, such
            as a mask in a buffer, have them on purpose.
    """

    def __init__(self, calls: Calls, suspects: set[int]) -> None:
        super().__init__()
        self.calls, self.suspects = calls, suspects
        self._events: dict[int, Event] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        inputs = list(_bad_inputs((args, kwargs or {})))
        output = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        for _, tensor in floating_tensors(output):
            self._note(name, tensor, inputs)
        return output

    def _note(self, name: str, output: Tensor, inputs: list[Tensor]) -> None:
        bad = int(output.numel() - output.isfinite().sum()) if output.numel() else 0
        if not bad:
            self._events.pop(id(output), None)
            return
        causes = [self._events[id(each)] for each in inputs if id(each) in self._events]
        sources = [each for each in inputs if self._is_source(each)]
        has_nan = bool(output.isnan().any())
        is_passed_on = bool(causes) and all(each.is_deliberate for each in causes)
        is_written = not causes and not sources and name in DELIBERATE
        deliberate = not has_nan and not sources and (is_passed_on or is_written)
        real = [each for each in causes if not each.is_deliberate]
        layer = self.calls.stack[-1] if self.calls.stack else ""
        self._events[id(output)] = Event(
            name, layer, bad, deliberate, real, sources, output
        )

    def _is_source(self, tensor: Tensor) -> bool:
        if id(tensor) in self._events:
            return False
        return tensor.data_ptr() in self.suspects or bool(tensor.isnan().any())

    def origin(self, value: Tensor) -> Event | None:
        """Returns the first event that a value comes from; None if it is finite, or comes from no operation."""
        event = self._events.get(id(value))
        return self.last_origin() if event is None else first_cause(event)

    def last_origin(self) -> Event | None:
        """Returns the first event that the last one comes from; None if there was none."""
        events = [each for each in self._events.values() if not each.is_deliberate]
        return first_cause(events[-1]) if events else None


def first_cause(event: Event) -> Event:
    """Returns the event that an event comes from, and that comes from none."""
    while event.causes:
        event = event.causes[0]
    return event


def _bad_inputs(arguments: Any) -> Iterator[Tensor]:
    for _, tensor in floating_tensors(arguments):
        if tensor.numel() and not bool(tensor.isfinite().all()):
            yield tensor


@dataclass
class BackwardTrace:
    """First node of a backward pass that makes NaN or infinities of finite gradients.

    Attributes:
        calls: Modules and their nodes.
        params: Names of parameters by identity.
        first: Operation, layer and count; None while all gradients are finite.
    """

    calls: Calls
    params: Mapping[int, str]
    first: tuple[str, str, int] | None = None

    def attach(self, loss: Tensor) -> None:
        """Hooks all nodes that a loss is computed by."""
        for node in islice(walk(loss.grad_fn), MOST_NODES):
            node.register_hook(self._hook(node))

    def _hook(self, node: Any) -> Any:
        def note(grad_inputs: Any, grad_outputs: Any) -> None:
            if self.first is not None:
                return
            bad = sum(count_nonfinite(each) for each in grad_inputs)
            if bad and not any(count_nonfinite(each) for each in grad_outputs):
                name = operation(node)
                self.first = name, self.calls.owners.get(node, self._owner(node)), bad

        return note

    def _owner(self, node: Any) -> str:
        """Returns the parameter that a node is computed from directly; empty for a node of the model itself."""
        for source in inputs_of(node):
            variable = getattr(source, "variable", None)
            if variable is not None and id(variable) in self.params:
                return self.params[id(variable)]
        return ""


def count_nonfinite(value: Any) -> int:
    """Returns the number of NaN and infinities in this rank's part of a tensor; 0 of anything else."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return 0
    value = own_values(value)
    if value.layout != torch.strided:
        value = value.coalesce().values() if value.is_sparse else value.values()
    return int(value.numel() - value.isfinite().sum())
