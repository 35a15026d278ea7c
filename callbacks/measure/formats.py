"""Narrow floating point formats, and the magnitudes at which a cast to them becomes zero, subnormal or too large.

Limits are integers, the bit patterns of magnitudes: comparing integers is exact, also where a device or a thread
flushes subnormal floats to zero.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from .bins import LAYOUTS, places_of_patterns

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Format:
    """A narrow floating point format; casts round to nearest, ties to even.

    Attributes:
        name: Short name, as in tags.
        mantissa: Bits of the mantissa.
        lowest: Exponent of the smallest normal number.
        largest: Largest finite number.
    """

    name: str
    mantissa: int
    lowest: int
    largest: float

    @property
    def step(self) -> float:
        """Smallest number above zero, and the distance of subnormal numbers."""
        return 2.0**self.smallest

    @property
    def smallest(self) -> int:
        """Exponent of the smallest number above zero."""
        return self.lowest - self.mantissa

    @property
    def octaves(self) -> int:
        """Exponent of the power of two that all numbers are below."""
        return math.frexp(self.largest)[1]

    def limits(self) -> Integers:
        """Returns `(3,)` patterns of float32: the first magnitudes that are not zero, normal, and out of range."""
        # Half of the smallest number is rounded to the even neighbour, zero.
        zero = _bits(self.step / 2) + 1
        normal = _bits(2.0**self.lowest - self.step / 2)
        exponent = math.floor(math.log2(self.largest)) - self.mantissa
        is_odd = int(self.largest / 2.0**exponent) % 2
        beyond = _bits(self.largest + 2.0**exponent / 2) + 1 - is_odd
        return np.array([zero, normal, beyond])


FORMATS = {
    each.name: each
    for each in (
        Format("fp16", 10, -14, 65504.0),
        Format("bf16", 7, -126, (2 - 2.0**-7) * 2.0**127),
        Format("e4m3", 3, -6, 448.0),
        Format("e5m2", 2, -14, 57344.0),
    )
}
"""IEEE half precision, bfloat16, and the two formats of 8 bits (Micikevicius et al. 2022), by name."""


def _bits(number: float) -> int:
    return int(np.float32(number).view(np.int32))


@dataclass(frozen=True, eq=False)
class Limits:
    """Limits of all formats, for values of one type, beside the bins of a histogram.

    Attributes:
        patterns: `(k,)` bit patterns of magnitudes, three of each format in the order of `FORMATS`.
        places: `(k,)` bins that the limits lie in, counted from the bin around zero.
        inside: `(k,)` True of a limit inside its bin, False of one on the bin's left edge.
    """

    patterns: Integers
    places: Integers
    inside: NDArray[np.bool_]


@cache
def limits_of(dtype: torch.dtype) -> Limits:
    """Returns the limits for float32 or float64 values."""
    layout = LAYOUTS[dtype]
    patterns = np.concatenate([each.limits() for each in FORMATS.values()])
    if dtype == torch.float64:
        patterns = _before_rounding(patterns)
    leading = patterns >> layout.dropped
    places: Integers = places_of_patterns(leading, layout).astype(np.int64)
    return Limits(
        patterns,
        places,
        leading << layout.dropped != patterns,
    )


def _before_rounding(patterns: Integers) -> Integers:
    """Returns the first float64 magnitudes that are rounded to float32 magnitudes; PyTorch casts in these two steps."""
    upper = patterns.astype(np.int32).view(np.float32).astype(np.float64)
    lower = (patterns - 1).astype(np.int32).view(np.float32).astype(np.float64)
    middle = ((lower + upper) / 2).view(np.int64)
    return middle + patterns % 2  # ties go to the even pattern
