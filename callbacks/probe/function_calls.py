"""Activations that are functions: `F.gelu(x)`, `torch.tanh(x)` or `x.sigmoid()` in the place of modules."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode, _push_mode

from ..measure.activations import Activation, activation_of_call, function_name, is_activation
from .guard import Guard
from .selection import unwrapped

MOST_FRAMES = 60
"""Python frames between an activation function and the module that calls it, at most."""


class FunctionObserver(Protocol):
    """Receives the calls of activation functions."""

    @property
    def expects_recomputation(self) -> bool:
        """Whether reentrant checkpointing may call functions again in the backward pass."""
        ...

    def begin_call(self, caller: str, function: str, activation: Activation, values: Tensor, /) -> Any:
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
        self, guard: Guard, observer: FunctionObserver, layers: Mapping[str, nn.Module], root: nn.Module
    ) -> None:
        super().__init__()
        self.guard, self.observer = guard, observer
        self._names = {id(layer): name for name, layer in layers.items()} | {id(root): ""}
        self._activations = {id(layer) for layer in layers.values() if is_activation(unwrapped(layer))}

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.backward and self.observer.expects_recomputation:
            return self._backward(*args, **kwargs)
        name = function_name(func)
        if name is None or torch.compiler.is_compiling():
            return func(*args, **kwargs)
        token = self.guard.safely(self._begin, name, args, kwargs)
        output = func(*args, **kwargs)
        if token is not None:
            self.guard.safely(self.observer.end_call, token, output)
        return output

    def _backward(
        self,
        loss: Tensor,
        gradient: Any = None,
        retain_graph: Any = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Does what `Tensor.backward` does, with the mode on: PyTorch turns it off inside a call that it was shown."""
        with self:
            torch.autograd.backward(loss, gradient, retain_graph, create_graph, inputs=inputs)

    def _begin(self, name: str, args: Any, kwargs: Any) -> Any:
        values = args[0] if args else kwargs.get("input")
        caller = self._caller()
        if caller is None or not isinstance(values, Tensor) or not values.is_floating_point():
            return None
        return self.observer.begin_call(caller, name, activation_of_call(name, args, kwargs), values)

    def _caller(self) -> str | None:
        """Returns the name of the module whose method called; None inside an activation module, which has hooks."""
        frame: Any = sys._getframe(4)
        for _ in range(MOST_FRAMES):
            if frame is None:
                break
            names = frame.f_code.co_varnames
            if frame.f_code.co_argcount and names[0] == "self":
                caller = id(frame.f_locals.get("self"))
                if caller in self._names:
                    return None if caller in self._activations else self._names[caller]
            frame = frame.f_back
        return ""

    def remove(self) -> None:
        """Leaves the mode, also if it is not the innermost one, or was never entered."""
        stack = _get_current_function_mode_stack()
        if self not in stack:
            return
        popped = []
        while (mode := _pop_mode()) is not self:
            popped.append(mode)
        for mode in reversed(popped):
            _push_mode(mode)
