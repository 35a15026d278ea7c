"""Saturation: where an activation is so flat that its unit cannot learn from an example."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ._activations import Test
from ._statistics import widened

SHOWN = (128, 512)
"""Examples and units that a map shows at most."""


@dataclass(frozen=True)
class Saturation:
    """Which outputs of a layer are saturated.

    Attributes:
        saturated: How many values are.
        count: How many values are finite.
        nonfinite: How many are NaN or infinite.
        always: `(units,)` which units are saturated on every example; None if the number of units changed in the step.
        shown: `(examples, units)` which values are, of the first examples and units; None if nothing is to be drawn.
    """

    saturated: int
    count: int
    nonfinite: int
    always: Tensor | None
    shown: Tensor | None = None

    @property
    def share(self) -> float | None:
        """Share of the finite values that are saturated; None if there are none."""
        return self.saturated / self.count if self.count else None

    @property
    def dead_units(self) -> float | None:
        """Share of the units that are saturated on every example."""
        return None if self.always is None else float(self.always.double().mean())

    def __add__(self, other: "Saturation") -> "Saturation":
        """Pools two sets of examples; the first is the one shown."""
        return Saturation(
            self.saturated + other.saturated,
            self.count + other.count,
            self.nonfinite + other.nonfinite,
            _both(self.always, other.always),
            self.shown,
        )


class SaturationTally:
    """Counts what is saturated among all that is added.

    Args:
        test: What holds of the values that are.
        unit_dim: The axis of the units; None = last of up to three axes, the second of four and more.
        shows: Whether to keep what a map shows.
    """

    def __init__(self, test: Test, unit_dim: int | None, shows: bool) -> None:
        self.test, self.unit_dim, self.shows = test, unit_dim, shows
        self.numel = 0
        self.held: list[Tensor] = []
        """Counts of saturated and of non-finite values, then masks of the units and of what is shown."""
        self.one_width = True

    def add(self, values: Tensor) -> None:
        """Counts in a tensor of any shape and floating point type."""
        if not values.numel():
            return
        flat = widened(values)
        finite = flat.isfinite()
        saturated = self.test(values.detach().reshape(-1)) & finite
        mask = by_unit(saturated.view(values.shape), self.unit_dim)  # (examples, units)
        self.numel += values.numel()
        counts = torch.stack([mask.sum(), flat.numel() - finite.sum()])
        always = mask.all(0)
        if not self.held:
            shown = mask[: SHOWN[0], : SHOWN[1]] if self.shows else mask[:0]
            self.held = [counts, always, shown.clone()]
            return
        self.held[0] = self.held[0] + counts
        self.one_width &= len(always) == len(self.held[1])
        if self.one_width:
            self.held[1] = self.held[1] & always

    def tensors(self) -> list[Tensor]:
        return self.held

    def value(self, tensors: list[Tensor]) -> Saturation:
        counts, always, shown = tensors
        saturated, nonfinite = counts.tolist()
        return Saturation(
            saturated,
            self.numel - nonfinite,
            nonfinite,
            always if self.one_width else None,
            shown if self.shows else None,
        )


def by_unit(values: Tensor, unit_dim: int | None) -> Tensor:
    """Lays values out as `(examples, units)`: images and sequences give an example a place."""
    if values.ndim < 2:  # one unit, such as the output of `squeeze(-1)`
        return values.reshape(-1, 1)
    axis = unit_dim if unit_dim is not None else (1 if values.ndim >= 4 else -1)
    return values.movedim(axis, -1).reshape(-1, values.shape[axis])


def _both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None or len(one) != len(other):
        return None
    return one & other
