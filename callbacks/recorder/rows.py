"""Numbers of single steps: as tensors where they were computed, and as floats once they are needed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..measure.placement import copy_to_host


class NormsOf(NamedTuple):
    """L2 norms of the gradients of an optimizer's parameters.

    Attributes:
        names: Names of the parameters.
        norms: `(len(names),)` their norms, unscaled and before clipping, on the device of the gradients.
    """

    names: tuple[str, ...]
    norms: Tensor


@dataclass
class Row:
    """Numbers of one step, on the device where they were computed.

    Attributes:
        step: Step on the axis of all plots.
        losses: `()` loss of each micro-batch, unscaled.
        magnitudes: `()` largest magnitude of each layer's output.
        gradients: Gradient norms, by the identity of the optimizer.
        clipped: `()` norms of the gradients of each optimizer after clipping; empty where nothing clips.
        learning_rates: Learning rate of each parameter group.
        clips: Whether gradients may be clipped.
    """

    step: int
    clips: bool = False
    losses: list[Tensor] = field(default_factory=list)
    magnitudes: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[int, NormsOf] = field(default_factory=dict)
    clipped: list[Tensor] = field(default_factory=list)
    learning_rates: list[Any] = field(default_factory=list)

    def tensors(self) -> list[Tensor]:
        """Returns all tensors, in the order that `numbers` takes them in."""
        norms = [each.norms for each in self.gradients.values()]
        return [*self.losses, *self.magnitudes.values(), *norms, *self.clipped]


@dataclass(frozen=True)
class Numbers:
    """Numbers of one step, as Python floats.

    Attributes:
        step: Step on the axis of all plots.
        losses: Loss of each micro-batch, unscaled.
        magnitudes: Largest magnitude of each layer's output, in the order of the calls.
        gradients: L2 norm of each parameter's gradient, unscaled and before clipping.
        grad_norm: L2 norm of all gradients; None before the gradients of the step are complete.
        clipped: The same after clipping; None as long as the step has not ended.
        learning_rates: Learning rate of each parameter group.
    """

    step: int
    losses: tuple[float, ...]
    magnitudes: dict[str, float]
    gradients: dict[str, float]
    grad_norm: float | None
    clipped: float | None
    learning_rates: tuple[float, ...]

    @property
    def loss(self) -> float | None:
        """Mean loss of the micro-batches; None before the first."""
        return sum(self.losses) / len(self.losses) if self.losses else None


def read_rows(rows: Sequence[Row]) -> list[Numbers]:
    """Reads rows, with one copy from each device for all of them."""
    rates = [[as_tensor(each) for each in row.learning_rates] for row in rows]
    tensors = [[*row.tensors(), *more] for row, more in zip(rows, rates, strict=True)]
    copies = iter(copy_to_host([each for group in tensors for each in group]))
    return [
        _numbers(row, [next(copies).double().reshape(-1).tolist() for _ in group])
        for row, group in zip(rows, tensors, strict=True)
    ]


def as_tensor(rate: Any) -> Tensor:
    """Returns a learning rate, a float or a tensor, as a tensor that holds all of its digits."""
    is_tensor = isinstance(rate, Tensor)
    return rate if is_tensor else torch.tensor(rate, dtype=torch.float64)


def _numbers(row: Row, values: Sequence[Sequence[float]]) -> Numbers:
    """Takes the values of `Row.tensors` and of the learning rates apart."""
    groups = iter(values)
    losses = tuple(next(groups)[0] for _ in row.losses)
    magnitudes = {name: next(groups)[0] for name in row.magnitudes}
    gradients: dict[str, float] = {}
    for names, _ in row.gradients.values():
        gradients |= dict(zip(names, next(groups), strict=True))
    clipped = [next(groups)[0] for _ in row.clipped]
    rates = tuple(each[0] for each in groups)
    norm = l2_norm(gradients.values()) if gradients else None
    after = l2_norm(clipped) if clipped else (None if row.clips else norm)
    return Numbers(row.step, losses, magnitudes, gradients, norm, after, rates)


def l2_norm(norms: Any) -> float:
    """Returns the L2 norm of the whole, given the norms of its parts; NaN if one of them is NaN.

    Example:
        >>> l2_norm([3.0, 4.0]), l2_norm([3.0, math.nan])
        (5.0, nan)
    """
    values = list(norms)
    return math.nan if any(map(math.isnan, values)) else math.hypot(*values)
