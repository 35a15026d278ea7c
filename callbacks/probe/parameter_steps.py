"""Facts of the optimizers' steps: which parameters were asked to move, at which rate, and whether the step returned."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..measure.placement import is_readable

ADAPTIVE = (
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.Adamax,
    torch.optim.RMSprop,
)
"""Optimizers whose update of an element is about the learning rate, whatever its gradient."""


@dataclass
class ParameterStep:
    """Facts of an optimizer's step with a parameter in a step.

    Attributes:
        has_gradient: Whether the parameter had a gradient when its optimizer was about to step.
        returned: Whether the optimizer's step returned: a gradient scaler may skip it.
        rate: Learning rate of its group; a tensor where it is one.
        is_adaptive: True for Adam and its kin, False for SGD, None where the size of an update cannot be told.
    """

    has_gradient: bool = False
    returned: bool = False
    rate: float | Tensor | None = None
    is_adaptive: bool | None = None

    def expected_change(self, largest_gradient: float) -> float | None:
        """Returns about the largest change of an element; None if it cannot be told."""
        if self.is_adaptive is None or not isinstance(self.rate, int | float):
            return None
        return self.rate * (1.0 if self.is_adaptive else largest_gradient)


@dataclass
class ParameterSteps:
    """Steps of all optimizers in one due step.

    Attributes:
        names: Names of the model's parameters by identity.
        steps: Facts by name, of parameters whose optimizer was asked to step.
    """

    names: Mapping[int, str]
    steps: dict[str, ParameterStep] = field(default_factory=dict)

    def note_asked(self, optimizer: Optimizer) -> None:
        """Notes that an optimizer is about to step."""
        for group in optimizer.param_groups:
            for param in group["params"]:
                name = self.names.get(id(param))
                if name is not None:
                    step = self.steps.setdefault(name, ParameterStep())
                    step.rate, step.is_adaptive = (
                        _rate_of(group),
                        _is_adaptive(optimizer),
                    )
                    step.has_gradient |= param.grad is not None

    def note_returned(self, optimizer: Optimizer) -> None:
        """Notes that an optimizer's step returned."""
        for name, _ in self.params_of(optimizer):
            self.steps.setdefault(name, ParameterStep()).returned = True

    def any_returned(self, names: Iterable[str]) -> bool:
        """True if the step of one of these parameters returned before."""
        return any(name in self.steps and self.steps[name].returned for name in names)

    def params_of(self, optimizer: Optimizer) -> Iterator[tuple[str, Tensor]]:
        """Yields the parameters of the model that an optimizer moves, by name."""
        for group in optimizer.param_groups:
            for param in group["params"]:
                if (name := self.names.get(id(param))) is not None:
                    yield name, param


def _rate_of(group: Mapping[str, Any]) -> float | Tensor | None:
    """Returns the learning rate of a parameter group, a tensor only where reading it would wait for a device."""
    rate = group.get("lr")
    return float(rate) if isinstance(rate, Tensor) and is_readable(rate) else rate


def _is_adaptive(optimizer: Optimizer) -> bool | None:
    if type(optimizer) is torch.optim.SGD:
        return False
    return True if type(optimizer) in ADAPTIVE else None
