"""Forward hooks on the layers of a due step; they change nothing, and none stays behind."""

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.utils.hooks import RemovableHandle

from .guard import Guard

Observe = Callable[[str, Any], None]
"""Takes the name of a layer, and its input or output."""


class LayerHooks:
    """Hooks on layers, attached for one training batch at a time.

    Args:
        guard: Keeps what the following raise out of the model.
        observe_output: Called with a layer's name and output, in calls that the loss is made of.
        observe_input: Called with a layer's name and input, likewise, before the layer could overwrite it.
        note_call: Called with a layer's name in every forward call, also without gradients.
    """

    def __init__(
        self, guard: Guard, observe_output: Observe, observe_input: Observe, note_call: Callable[[str], None]
    ) -> None:
        self.guard, self.note_call = guard, note_call
        self.observe_output, self.observe_input = observe_output, observe_input
        self._handles: list[RemovableHandle] = []
        self._hooked: list[nn.Module] = []
        self._calls_without_grad: dict[str, int] = {}

    def attach(self, layers: Mapping[str, nn.Module], with_input: Container[str]) -> None:
        """Attaches hooks to layers, also to the inputs of some; removes those of before."""
        self.detach()
        self._calls_without_grad.clear()
        # Noted before they are hooked: Ctrl-C can come between a registration and the note of its handle.
        self._hooked = list(layers.values())
        for name, layer in layers.items():
            self._handles.append(layer.register_forward_hook(_OutputHook(self, name)))
            if name in with_input:
                self._handles.append(layer.register_forward_pre_hook(_InputHook(self, name), with_kwargs=True))

    def detach(self) -> None:
        """Removes the hooks; does nothing if there are none."""
        while self._handles:
            self._handles[-1].remove()
            self._handles.pop()

    def sweep(self) -> None:
        """Removes the hooks whose handles Ctrl-C kept from being noted."""
        self.detach()
        for layer in self._hooked:
            for hooks in (layer._forward_hooks, layer._forward_pre_hooks):
                for number, hook in list(hooks.items()):
                    if isinstance(hook, _Hook) and hook.hooks is self:
                        del hooks[number]
                        layer._forward_pre_hooks_with_kwargs.pop(number, None)
        self._hooked = []

    def begin_call(self, name: str, arguments: Any) -> None:
        """Shows the input of a layer."""
        if self.is_observed(name):
            self.observe_input(name, arguments)

    def end_call(self, name: str, output: Any) -> None:
        """Shows the output of a layer, and counts the call."""
        is_observed = self.is_observed(name)
        self.count_call(name)
        if is_observed:
            self.observe_output(name, output)

    @property
    def expects_recomputation(self) -> bool:
        """True if there were calls without gradients, for which others may come in the backward pass."""
        return any(self._calls_without_grad.values())

    def is_observed(self, name: str) -> bool:
        """True if a call of a layer is one that the loss is made of.

        Activation checkpointing calls layers twice. Without reentrance both calls have gradients enabled, and the
        second, which an operation of the backward pass asks for, is left out. With reentrance the first has none, and
        the second, inside the backward of an autograd function, is the one that gradients reach.
        """
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return False
        node = current_node()
        return node is None or (isinstance(node, BackwardCFunction) and self._calls_without_grad.get(name, 0) > 0)

    def count_call(self, name: str) -> None:
        """Keeps account of the calls without gradients, for which one in the backward pass may come."""
        in_backward = current_node() is not None
        if not in_backward:
            self.note_call(name)
        if not torch.is_grad_enabled():
            self._calls_without_grad[name] = self._calls_without_grad.get(name, 0) + 1
        elif in_backward and self._calls_without_grad.get(name):
            self._calls_without_grad[name] -= 1


class _Hook:
    """Forward hook that becomes a no-op when its module is deep-copied or pickled."""

    def __init__(self, hooks: LayerHooks, name: str) -> None:
        self.hooks, self.name = hooks, name

    def __deepcopy__(self, memo: Any) -> Callable[..., None]:
        return no_hook

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle_no_hook, ()


class _OutputHook(_Hook):
    def __call__(self, layer: nn.Module, arguments: Any, output: Any) -> None:
        self.hooks.guard.safely(self.hooks.end_call, self.name, output)


class _InputHook(_Hook):
    def __call__(self, layer: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self.hooks.guard.safely(self.hooks.begin_call, self.name, (arguments, keywords))


def no_hook(*_: Any) -> None:
    """Does nothing."""


def _unpickle_no_hook() -> Callable[..., None]:
    return no_hook


def current_node() -> Any:
    """Returns the autograd node that is executing; None outside a backward pass.

    PyTorch has no public way to ask.
    """
    return torch._C._current_autograd_node()


def first_tensor(value: Any) -> Tensor | None:
    """Returns the first floating point tensor of a structure; None if it holds none."""
    return next((tensor for _, tensor in islice(floating_tensors(value), 1)), None)


def floating_tensors(value: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Walks through tuples, lists, dicts and dataclasses.

    Yields:
        The path of each strided floating point tensor, such as "", ".0", ".1.0" or ".hidden", and the tensor.

    Example:
        >>> pairs = floating_tensors((torch.zeros(2), {"hidden": [torch.zeros(3), 7, None]}))
        >>> [(path, tuple(tensor.shape)) for path, tensor in pairs]
        [('.0', (2,)), ('.1.hidden.0', (3,))]
    """
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.layout == torch.strided and not value.is_nested:
            yield path, value
        return
    for name, member in _members(value):
        yield from floating_tensors(member, f"{path}.{name}")


def _members(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    return []
