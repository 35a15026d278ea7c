"""Histogram bins with fixed edges: the leading bits of a floating point number are the number of its bin.

The bits of a float (sign, exponent, mantissa) read as an integer grow with its magnitude. Without its last mantissa
bits, that integer numbers 64 bins of equal width in each octave. So no range has to be known before values are counted,
and counts of several tensors add up.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STEP_BITS = 6
STEPS = 2**STEP_BITS
"""Bins an octave: the last below 1.0 is [0.9922, 1), so that saturation shows."""

FIRST, LAST = -48, 16
"""Octaves with bins of their own: magnitudes from 2**-48 (3.6e-15) up to 2**16 (65 536)."""

HALF = (LAST - FIRST) * STEPS
BINS = 2 * HALF + 3
"""Number of bins: too low, the negative bins, around zero, the positive bins, too high."""

AROUND_ZERO = HALF + 1
"""Number of the bin of magnitudes below 2**-48."""

NONFINITE = BINS
"""Bin number of NaN and infinities, which are in no bin."""

Patterns = TypeVar("Patterns", "NDArray[np.integer]", Tensor)


@dataclass(frozen=True)
class Layout:
    """Bit layout of a floating point type.

    Attributes:
        integer: Integer type of the same size.
        mantissa: Bits of the mantissa.
        exponent: Bits of the exponent.
    """

    integer: torch.dtype
    mantissa: int
    exponent: int

    @property
    def dropped(self) -> int:
        """Mantissa bits that do not tell one bin from another."""
        return self.mantissa - STEP_BITS

    @property
    def patterns(self) -> int:
        """Number of patterns of one sign."""
        return STEPS << self.exponent

    @property
    def first(self) -> int:
        """Pattern of 2**FIRST."""
        return (self._bias + FIRST) * STEPS

    @property
    def last(self) -> int:
        """Pattern of 2**LAST."""
        return (self._bias + LAST) * STEPS

    @property
    def infinity(self) -> int:
        """Pattern of infinity; those above are NaN."""
        return self.patterns - STEPS

    @property
    def _bias(self) -> int:
        return 2 ** (self.exponent - 1) - 1


LAYOUTS = {
    torch.float32: Layout(torch.int32, 23, 8),
    torch.float64: Layout(torch.int64, 52, 11),
}


def places_of_patterns(patterns: Patterns, layout: Layout) -> Patterns:
    """Maps signed patterns to the distances of their bins from the bin around zero."""
    magnitude = patterns & (layout.patterns - 1)
    return magnitude.clip(layout.first - 1, layout.last) - (layout.first - 1)


def signs_of_patterns(patterns: Patterns, layout: Layout) -> Patterns:
    """Maps signed patterns to 1 and -1."""
    return (patterns >> (STEP_BITS + layout.exponent)) | 1


def bins_of_patterns(patterns: Patterns, layout: Layout) -> Patterns:
    """Maps signed patterns to bin numbers, those of infinity and NaN to the outermost bins.

    Args:
        patterns: Any shape; leading bits of floats, sign-extended. NumPy array or torch tensor.
        layout: Layout of those floats.
    """
    places = places_of_patterns(patterns, layout)
    return places * signs_of_patterns(patterns, layout) + AROUND_ZERO


def leading_bits(values: NDArray[np.floating]) -> NDArray[np.integer]:
    """Returns the signed patterns of contiguous float32 or float64 values, int16 or int32."""
    if values.dtype == np.float32:
        return (values.view(np.int32) >> LAYOUTS[torch.float32].dropped).astype(
            np.int16
        )
    return (values.view(np.int64) >> LAYOUTS[torch.float64].dropped).astype(np.int32)


def make_edges() -> NDArray[np.float64]:
    """Returns `(BINS + 1,)` edges: -inf, -65 536, ..., -2**-48, 2**-48, ..., 65 536, +inf."""
    octaves = 2.0 ** np.arange(FIRST, LAST)
    steps = 1 + np.arange(STEPS) / STEPS
    positive = np.append(octaves[:, None] * steps, [2.0**LAST, math.inf])
    return np.append(-positive[::-1], positive)


EDGES = make_edges()
