"""Activations that are functions: `F.gelu(x)`, `torch.tanh(x)` or `x.sigmoid()` in the place of modules."""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.overrides import (
    TorchFunctionMode,
    _get_current_function_mode_stack,
    _pop_mode,
    _push_mode,
)
from torch.utils.hooks import RemovableHandle

from ..measure.activations import (
    Activation,
    activation_of_call,
    function_name,
    is_activation,
)
from .autograd_graph import walk
from .guard import Guard
from .layer_hooks import is_in_backward
from .selection import unwrapped

ASKS_FOR_GRADIENT = Tensor.requires_grad.__get__  # type: ignore[attr-defined]

MOST_FRAMES = 60
"""Python frames between an activation function and the module that calls it, at most."""


class FunctionObserver(Protocol):
    """Receives the calls of activation functions."""

    def begin_call(
        self, caller: str, function: str, activation: Activation, values: Tensor, /
    ) -> Any:
        """Is called before a function, with its input; returns a token, None if the call is not observed."""

    def end_call(self, token: Any, output: Any, /) -> None:
        """Is called with the output of an observed call."""


class FunctionCalls(TorchFunctionMode):
    """Mode that shows the calls of activation functions to an observer, and passes all calls on unchanged.

    The module that calls is the nearest one on Python's call stack, so that no hook on every module is needed.

    Args:
        guard: Keeps what the observer raises out of the model.
        observer: Receives the calls.
        layers: Modules of the model by name.
        root: The model itself; its name is empty.
    """

    def __init__(
        self,
        guard: Guard,
        observer: FunctionObserver,
        layers: Mapping[str, nn.Module],
        root: nn.Module,
    ) -> None:
        super().__init__()
        self.guard, self.observer = guard, observer
        self._handles: list[RemovableHandle] = []
        self._names = {id(layer): name for name, layer in layers.items()} | {
            id(root): ""
        }

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._handles and func == ASKS_FOR_GRADIENT and is_in_backward():
            # By checkpointing, of what it has recomputed and is about to backpropagate: there may be more inside.
            self.guard.safely(self.enter_in_recomputations, args[0])
        name = function_name(func)
        if name is None or torch.compiler.is_compiling():
            return func(*args, **kwargs)
        token = self.guard.safely(self._begin, name, args, kwargs)
        output = func(*args, **kwargs)
        if token is not None:
            self.guard.safely(self.observer.end_call, token, output)
        return output

    def enter_in_recomputations(self, loss: Tensor) -> None:
        """Enters the mode wherever the backward pass of a loss recomputes a part of the forward pass.

        Autograd runs each of its nodes with no mode on, and leaves what a hook of the node has entered. Reentrant
        checkpointing is a node that is written in Python.
        """
        for node in walk(loss.grad_fn):
            if isinstance(node, BackwardCFunction):
                self._handles.append(node.register_prehook(self._enter))

    def _enter(self, gradients: Any) -> None:
        if self not in _get_current_function_mode_stack():
            _push_mode(self)

    def _begin(self, name: str, args: Any, kwargs: Any) -> Any:
        values = args[0] if args else kwargs.get("input")
        caller = self._caller()
        if (
            caller is None
            or not isinstance(values, Tensor)
            or not values.is_floating_point()
        ):
            return None
        return self.observer.begin_call(
            caller, name, activation_of_call(name, args, kwargs), values
        )

    def _caller(self) -> str | None:
        """Returns the name of the module whose method called.

        None inside an activation module, which has hooks, and inside a module that is no part of the model, such as a
        copy. An activation module that is not registered counts as a function of the module that calls it.
        """
        for module in self._modules_on_the_stack():
            is_known = id(module) in self._names
            is_function = is_activation(unwrapped(module))
            if is_known or not is_function:
                return self._names[id(module)] if is_known and not is_function else None
        return ""

    def _modules_on_the_stack(self) -> Iterator[nn.Module]:
        """Yields the modules whose methods are being called, the innermost first."""
        frame: Any = sys._getframe(1)
        for _ in range(MOST_FRAMES):
            if frame is None:
                return
            code = frame.f_code
            if code.co_argcount and code.co_varnames[0] == "self":
                caller = frame.f_locals.get("self")
                if isinstance(caller, nn.Module):
                    yield caller
            frame = frame.f_back

    def remove(self) -> None:
        """Leaves the mode, also if it is not the innermost one, or was never entered."""
        while self._handles:
            self._handles[-1].remove()
            self._handles.pop()
        stack = _get_current_function_mode_stack()
        if self not in stack:
            return
        popped = []
        while (mode := _pop_mode()) is not self:
            popped.append(mode)
        for mode in reversed(popped):
            _push_mode(mode)
