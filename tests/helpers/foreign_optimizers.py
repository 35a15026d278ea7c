"""Optimizers that take no hooks of PyTorch's."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Optimizer


class WithoutHooks:
    """Optimizer of another library: Lightning asks for a few methods only."""

    def __init__(self, params: Sequence[nn.Parameter]) -> None:
        self.inner = SGD(params, lr=0.1)
        self.param_groups, self.state = self.inner.param_groups, self.inner.state
        self.defaults = self.inner.defaults

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.inner.load_state_dict(state_dict)

    def step(self, closure: Any = None) -> Any:
        with torch.enable_grad():
            loss = closure()
        self.inner.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)


class Wraps(WithoutHooks, Optimizer):
    """The same as a subclass that never calls its base's `__init__`, as some wrappers do."""
