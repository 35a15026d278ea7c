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
"""Shade of a unit that is saturated."""

Mask = NDArray[np.bool_]
Map = NDArray[np.uint8]
Test = Callable[[Tensor], Tensor]
"""Maps values to a mask of the same shape: True where saturated."""


@dataclass(frozen=True)
class FlatRegion:
    """Region in which an activation is saturated.

    Attributes:
        test: True where a value is saturated.
        of_input: Whether the test is for the input of the activation, not for its output.
        off: Words for the values of a unit that is switched off, such as ReLU's "zeros", which half of the values
            normally are; None of a region at the ends, such as those of tanh.
    """

    test: Test
    of_input: bool = False
    off: str | None = None


@dataclass(frozen=True, eq=False)
class Saturation:
    """Counts of the saturated outputs of a layer.

    Attributes:
        saturated: Number of saturated values.
        count: Number of finite values.
        nonfinite: Number of NaN and infinite values.
        dead: Masks of the units that are saturated on every example, by the number of units of the calls they belong
            to: a ReLU called at several widths has different units in each.
        map: `(examples, units)` shades: 255 where a unit is saturated at the center of an example's places (pixels,
            positions), else 0; of the first examples and units of the first call. None if no map was asked for.
        places: Sizes of the axes of an example besides its units, in the first call.
        off: See `FlatRegion`.
    """

    saturated: int
    count: int
    nonfinite: int
    dead: Mapping[int, Mask]
    map: Map | None = None
    places: tuple[int, ...] = ()
    off: str | None = None

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
        first = other if self.map is None and other.map is not None else self
        return Saturation(
            self.saturated + other.saturated,
            self.count + other.count,
            self.nonfinite + other.nonfinite,
            dead,
            first.map,
            first.places,
            first.off,
        )


def count_saturated(values: Tensor, region: FlatRegion, keep_map: bool) -> Saturation:
    """Counts the saturated values of a CPU tensor.

    Args:
        values: `(examples, ..., units)`, at least one value, any floating point type.
        region: Where a value is saturated.
        keep_map: Whether to return a map.
    """
    saturated, nonfinite, always = 0, 0, np.ones(values.shape[-1], dtype=bool)
    for piece in values.split(max(1, PIECE * len(values) // values.numel())):
        mask, invalid = _saturated_and_finite(piece, region.test)
        saturated += int(np.count_nonzero(mask))
        nonfinite += invalid
        always &= mask.reshape(-1, mask.shape[-1]).all(0)
    shades = map_of(values, region.test).numpy() if keep_map else None
    return Saturation(
        saturated,
        values.numel() - nonfinite,
        nonfinite,
        {values.shape[-1]: always},
        shades,
        tuple(values.shape[1:-1]),
        region.off,
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

    Of an example's places (pixels, positions) the center is shown: there a unit is saturated or not, whereas a fraction
    of places would be gray for every unit of a convolution.
    """
    examples, units = MAP_SHAPE
    first = values[:examples, ..., :units]
    for size in first.shape[1:-1]:
        first = first.select(1, size // 2)
    mask = test(first) & widened(first).isfinite()
    return mask.to(torch.uint8) * WHITE


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
