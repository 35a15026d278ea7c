"""Saturation: where an activation is so flat that its unit cannot learn from an example."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._activations import Test
from ._statistics import PIECE, bare, on_host, widened

SHOWN = (128, 512)
"""Examples and units that a map shows at most."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
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
    always: Mask | None
    shown: Mask | None = None

    @property
    def share(self) -> float | None:
        """Share of the finite values that are saturated; None if there are none."""
        return self.saturated / self.count if self.count else None

    @property
    def dead_units(self) -> float | None:
        """Share of the units that are saturated on every example."""
        return None if self.always is None else float(self.always.mean())

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
        self.seen: Saturation | None = None
        """What has been measured in main memory."""
        self.numel = 0
        self.held: list[Tensor] = []
        """On a device, counts of saturated and of non-finite values, then masks of the units and of what is shown."""
        self.one_width = True

    def add(self, values: Tensor) -> None:
        """Counts in a tensor of any shape and floating point type."""
        if not values.numel():
            return
        values = units_last(bare(values), self.unit_dim)
        if on_host(values):
            self.measure(values)
        else:
            self.send(values)

    def measure(self, values: Tensor) -> None:
        """Counts in what is in main memory, piece by piece."""
        shown = self.shown(values).numpy() if self.shows and self.seen is None else None
        for part in values.split(max(1, PIECE * len(values) // values.numel())):
            saturated, nonfinite = self._saturated(part)
            always = np.asarray(saturated.all(tuple(range(part.ndim - 1))))
            found = Saturation(int(np.count_nonzero(saturated)), part.numel() - nonfinite, nonfinite, always, shown)
            self.seen = found if self.seen is None else self.seen + found

    def send(self, values: Tensor) -> None:
        """Has a device count, and does not wait for it."""
        finite = widened(values).isfinite()
        saturated = self.test(values) & finite
        self.numel += values.numel()
        counts = torch.stack([saturated.sum(), values.numel() - finite.sum()])
        always = saturated.flatten(0, -2).all(0)
        if not self.held:
            self.held = [counts, always, self.shown(values) if self.shows else always[:0]]
            return
        self.held[0] = self.held[0] + counts
        self.one_width &= len(always) == len(self.held[1])
        if self.one_width:
            self.held[1] = self.held[1] & always

    def shown(self, values: Tensor) -> Tensor:
        """`(examples, units)` which of the first values are: an image and a sequence give an example a place."""
        places = values[0].numel() // values.shape[-1]
        first = values[: math.ceil(SHOWN[0] / places)].flatten(0, -2)[: SHOWN[0], : SHOWN[1]]
        return self.test(first) & widened(first).isfinite()

    def _saturated(self, part: Tensor) -> tuple[np.ndarray, int]:
        """Returns which values are, and how many are not finite: where their sum is, all of them are."""
        saturated, wide = self.test(part), widened(part)
        if math.isfinite(float(wide.sum())):
            return saturated.numpy(), 0
        finite = wide.isfinite()
        return (saturated & finite).numpy(), part.numel() - int(finite.sum())

    def tensors(self) -> list[Tensor]:
        return self.held

    def value(self, tensors: list[Tensor]) -> Saturation | None:
        """Returns what was counted, given those tensors on the host; None if nothing was."""
        if not tensors:
            return self.seen
        counts, always, shown = tensors
        saturated, nonfinite = counts.tolist()
        finite = self.numel - nonfinite
        units, picture = (always.numpy() if self.one_width else None), (shown.numpy() if self.shows else None)
        found = Saturation(saturated, finite, nonfinite, units, picture)
        return found if self.seen is None else self.seen + found


def units_last(values: Tensor, unit_dim: int | None) -> Tensor:
    """Returns a view of values with the axis of the units as the last, and one before it at least."""
    if values.ndim < 2:  # one unit, such as the output of `squeeze(-1)`
        return values.reshape(-1, 1)
    axis = unit_dim if unit_dim is not None else (1 if values.ndim >= 4 else -1)
    return values.movedim(axis, -1)


def _both(one: Mask | None, other: Mask | None) -> Mask | None:
    if one is None or other is None or len(one) != len(other):
        return None
    return one & other
