"""Forward hooks on the layers of a due step; they change nothing, and none stays behind."""

import sys
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import checkpoint
from torch.utils.hooks import RemovableHandle

from .guard import Guard

try:
    from torch.utils.module_tracker import ModuleTracker
except ImportError:  # torch 2.3
    _TRACKER = None
else:
    _TRACKER = ModuleTracker()

PLAIN = {int, float, bool, str, bytes, type(None)}
"""Types that have no tensors."""

Observe = Callable[[str, Any], None]
"""Takes the name of a layer, and its input or output."""


def no_hook(*_: Any) -> None:
    """Does nothing."""


class LayerHooks:
    """Hooks on layers, attached for one training batch at a time.

    Args:
        guard: Keeps what the following raise out of the model.
        observe_output: Called with a layer's name and output, in calls that the loss is made of.
        observe_input: Called with a layer's name and input, likewise, before the layer could overwrite it.
        note_call: Called with a layer's name in every forward call, also without gradients.
        begin_caller: Called with the name of a watched layer when a call of it begins.
    """

    def __init__(
        self,
        guard: Guard,
        observe_output: Observe,
        observe_input: Observe,
        note_call: Callable[[str], None],
        begin_caller: Callable[[str], None] = no_hook,
    ) -> None:
        self.guard, self.note_call, self.begin_caller = guard, note_call, begin_caller
        self.observe_output, self.observe_input = observe_output, observe_input
        self._handles: list[RemovableHandle] = []
        self._hooked: list[nn.Module] = []
        self._watched: set[str] = set()
        self.called_without_grad = False
        """Whether there were calls without gradients, for which others may come in the backward pass."""

    def attach(
        self, layers: Mapping[str, nn.Module], with_input: Container[str]
    ) -> None:
        """Attaches hooks to layers, also to the inputs of some; removes those of before."""
        self.detach()
        self.called_without_grad = False
        # Noted before they are hooked: Ctrl-C can come between a registration and the note of its handle.
        self._hooked = list(layers.values())
        self._watched = set()
        for name, layer in layers.items():
            self._handles.append(layer.register_forward_hook(_OutputHook(self, name)))
            if name in with_input:
                self._handles.append(
                    layer.register_forward_pre_hook(
                        _InputHook(self, name), with_kwargs=True
                    )
                )

    def watch(self, name: str, layer: nn.Module) -> None:
        """Shows when further calls of a layer begin, until the batch ends."""
        if name not in self._watched:
            self._watched.add(name)
            self._hooked.append(layer)
            self._handles.append(layer.register_forward_pre_hook(_CallHook(self, name)))

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
                    if isinstance(hook, Hook) and hook.hooks is self:
                        del hooks[number]
                        layer._forward_pre_hooks_with_kwargs.pop(number, None)
        self._hooked = []

    def begin_call(self, name: str, arguments: Any) -> None:
        """Shows the input of a layer."""
        if self.is_observed():
            self.observe_input(name, arguments)
        elif not torch.is_grad_enabled():
            self.called_without_grad = True

    def end_call(self, name: str, output: Any) -> None:
        """Shows the output of a layer, and notes the call."""
        self.note(name)
        if self.is_observed():
            self.observe_output(name, output)

    def is_observed(self) -> bool:
        """True if a call is one that the loss is made of.

        Activation checkpointing calls layers twice. Without reentrance both calls have gradients enabled, and the
        second, which the saved tensors of the backward pass ask for, is left out. With reentrance the first has none,
        and the second, inside the backward of an autograd function, is the one that gradients reach.
        """
        return torch.is_grad_enabled() and not (
            is_in_backward() and is_recomputing_saved_tensors()
        )

    def note(self, name: str) -> None:
        """Notes a call, whether or not it is observed."""
        if not is_in_backward():
            self.note_call(name)
        if not torch.is_grad_enabled():
            self.called_without_grad = True


class Hook:
    """Forward hook of a due step, that becomes a no-op when its module is deep-copied or pickled."""

    def __init__(self, hooks: LayerHooks, name: str) -> None:
        self.hooks, self.name = hooks, name

    def __deepcopy__(self, memo: Any) -> Callable[..., None]:
        return no_hook

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle_no_hook, ()


class _OutputHook(Hook):
    def __call__(self, layer: nn.Module, arguments: Any, output: Any) -> None:
        if not torch.compiler.is_compiling():  # else it would be compiled along
            self.hooks.guard.safely(self.hooks.end_call, self.name, output)


class _CallHook(Hook):
    def __call__(self, layer: nn.Module, arguments: Any) -> None:
        if not torch.compiler.is_compiling():
            self.hooks.guard.safely(self.hooks.begin_caller, self.name)


class _InputHook(Hook):
    def __call__(
        self, layer: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> None:
        if not torch.compiler.is_compiling():
            self.hooks.guard.safely(
                self.hooks.begin_call, self.name, (arguments, keywords)
            )


def _unpickle_no_hook() -> Callable[..., None]:
    return no_hook


def is_in_backward() -> bool:
    """True in the course of a backward pass; before torch 2.4, PyTorch has no public way to ask."""
    if _TRACKER is None:
        return torch._C._current_graph_task_id() != -1
    return _TRACKER.is_bw


def is_recomputing_saved_tensors() -> bool:
    """True inside the second forward pass of checkpointing without reentrance.

    That pass is called from the hook that unpacks a saved tensor. PyTorch has no way to ask, so Python's call stack is
    searched, up to the engine of the backward pass.
    """
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "_engine_run_backward":
        if (
            frame.f_code.co_name == "unpack_hook"
            and frame.f_code.co_filename == checkpoint.__file__
        ):
            return True
        frame = frame.f_back
    return False


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
    for place, tensor in all_tensors(value, path):
        is_dense = tensor.layout == torch.strided and not tensor.is_nested
        if is_dense and tensor.is_floating_point():
            yield place, tensor


def all_tensors(value: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Walks through a structure as `floating_tensors` does; yields tensors of any type and layout."""
    if isinstance(value, Tensor):
        yield path, value
        return
    for name, member in _members(value):
        yield from all_tensors(member, f"{path}.{name}")


def _members(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple):
        # Lists of token numbers or texts are long, and are part of many batches.
        is_plain = set(map(type, value)) <= PLAIN
        return [] if is_plain else list(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    return []
