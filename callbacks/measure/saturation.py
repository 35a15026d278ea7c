"""Saturation: outputs at which an activation is so flat that its unit cannot learn from an example."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .pieces import PIECE, plain, widened

MAP_SHAPE = (128, 512)
"""Examples and units that a map shows at most."""

WHITE = 255
"""Shade of a unit that is saturated at every place of an example."""

Mask = NDArray[np.bool_]
Map = NDArray[np.uint8]
Test = Callable[[Tensor], Tensor]
"""Maps values to a mask of the same shape: True where saturated."""


@dataclass(frozen=True, eq=False)
class Saturation:
    """Counts of the saturated outputs of a layer.

    Attributes:
        saturated: Number of saturated values.
        count: Number of finite values.
        nonfinite: Number of NaN and infinite values.
        dead: Masks of the units that are saturated on every example, by the number of units of the calls they belong
            to: a ReLU called at several widths has different units in each.
        map: `(examples, units)` shades from 0 to 255: the fraction of an example's places (pixels, positions) at which
            a unit is saturated, of the first examples and units of the first call; None if no map was asked for.
    """

    saturated: int
    count: int
    nonfinite: int
    dead: Mapping[int, Mask]
    map: Map | None = None

    @property
    def fraction(self) -> float | None:
        """Fraction of the finite values that are saturated; None if there are none."""
        return self.saturated / self.count if self.count else None

    @property
    def units(self) -> int:
        """Number of units, summed over widths."""
        return sum(self.dead)

    @property
    def dead_count(self) -> int:
        """Number of units that are saturated on every example."""
        return sum(int(np.count_nonzero(mask)) for mask in self.dead.values())

    @property
    def dead_units(self) -> float | None:
        """Fraction of the units that are saturated on every example; None if there are no units."""
        return self.dead_count / self.units if self.units else None

    def __add__(self, other: "Saturation") -> "Saturation":
        """Pools two sets of examples; the map stays that of the first."""
        dead = dict(self.dead)
        for width, mask in other.dead.items():
            dead[width] = dead[width] & mask if width in dead else mask
        return Saturation(
            self.saturated + other.saturated,
            self.count + other.count,
            self.nonfinite + other.nonfinite,
            dead,
            self.map if self.map is not None else other.map,
        )


def count_saturated(values: Tensor, test: Test, keep_map: bool) -> Saturation:
    """Counts the saturated values of a CPU tensor.

    Args:
        values: `(examples, ..., units)`, at least one value, any floating point type.
        test: True where a value is saturated.
        keep_map: Whether to return a map.
    """
    saturated, nonfinite, always = 0, 0, np.ones(values.shape[-1], dtype=bool)
    for piece in values.split(max(1, PIECE * len(values) // values.numel())):
        mask, invalid = _saturated_and_finite(piece, test)
        saturated += int(np.count_nonzero(mask))
        nonfinite += invalid
        always &= mask.reshape(-1, mask.shape[-1]).all(0)
    shades = map_of(values, test).numpy() if keep_map else None
    return Saturation(
        saturated,
        values.numel() - nonfinite,
        nonfinite,
        {values.shape[-1]: always},
        shades,
    )


def _saturated_and_finite(piece: Tensor, test: Test) -> tuple[NDArray[np.bool_], int]:
    """Returns the mask of finite saturated values and the number of values that are not finite."""
    mask, values = test(piece), widened(piece)
    if math.isfinite(float(values.sum())):
        return mask.numpy(), 0
    finite = values.isfinite()
    return (mask & finite).numpy(), piece.numel() - int(finite.sum())


def map_of(values: Tensor, test: Test) -> Tensor:
    """Returns the `(examples, units)` shades, uint8, of the first examples and units; waits for no device.

    A shade is rounded down, so that only a unit that is saturated at every place of an example is white.
    """
    examples, units = MAP_SHAPE
    first = values[:examples, ..., :units]
    mask = test(first) & widened(first).isfinite()
    fraction = mask.float().flatten(1, -2).mean(1) if mask.ndim > 2 else mask.float()
    return (fraction * WHITE).to(torch.uint8)


def units_last(values: Tensor, unit_dim: int | None) -> Tensor:
    """Returns a view with the unit axis last and the examples first.

    Args:
        values: Output of a layer. With fewer than two axes it is one unit, such as the output of `squeeze(-1)`.
        unit_dim: Axis of the units; None = the last of up to three axes, axis 1 of four and more.
    """
    values = plain(values)
    if values.ndim < 2:
        return values.reshape(-1, 1)
    axis = unit_dim if unit_dim is not None else (1 if values.ndim >= 4 else -1)
    return values.movedim(axis, -1)
