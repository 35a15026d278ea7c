"""RangeRow: range of the values of one tensor, and whether the values fit into 8 bits."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..measure.bins import AROUND_ZERO, FIRST, STEPS
from ..measure.casts import CastCounts, Casts
from ..measure.formats import FORMATS, Format
from ..measure.histogram import Histogram

Fits = Literal["as it is", "scaled", "no"]

FORWARD = ("activation", "weight")
"""Tensors of the forward pass, for which e4m3 is the usual format; gradients, with their longer tails, take e5m2."""

MOST_LOST = 0.01
"""Fraction of the values other than zero that may become zero in a tensor that fits."""


@dataclass(frozen=True, eq=False)
class RangeRow:
    """Range of the values of one tensor in one step.

    Attributes:
        tensor: "activation", "activation_grad", "weight", "weight_grad" or "update".
        name: Name of the layer or parameter.
        step: Step of the measurement; of a frozen parameter the first, later steps do not measure it again.
        casts: Measured values.
    """

    tensor: str
    name: str
    step: int
    casts: Casts

    @property
    def count(self) -> int:
        """Number of finite values."""
        return self.casts.moments.count

    @property
    def largest(self) -> float:
        """Largest finite magnitude."""
        return abs(self.casts.moments.magnitude)  # 0.0, not -0.0, of zeros

    @property
    def fp8(self) -> str:
        """Format of 8 bits that is usual for such a tensor, "e4m3" or "e5m2"."""
        return "e4m3" if self.tensor in FORWARD else "e5m2"

    @property
    def scale(self) -> int | None:
        """Exponent of the largest power of two that lets no value exceed the largest number of `fp8`.

        None if all values are zero, or none is finite.
        """
        return largest_scale(self.largest, FORMATS[self.fp8]) if self.largest else None

    @property
    def lost(self) -> float:
        """Fraction of the values other than zero that become zero in `fp8`, without a scale; 0 if all are zero.

        Zeros do not count: of the gradient of an embedding, nearly all values are zero, and the few others matter.
        """
        return self._fraction_of_nonzero(self.casts.to(self.fp8).underflow)

    @property
    def lost_scaled(self) -> float:
        """Fraction of the values other than zero that become zero in `fp8` at most, multiplied by 2**scale before.

        At most, since values are known to 1/64 of an octave, and magnitudes below 2**-48 and from 2**16 on not at all:
        they count as lost together.
        """
        if self.scale is None:
            return 0.0
        underflow = most_underflow(self.casts.histogram, FORMATS[self.fp8], self.scale)
        return self._fraction_of_nonzero(underflow)

    @property
    def fits(self) -> Fits:
        """Answer for `fp8`: "as it is", "scaled" (by 2**scale) or "no".

        A tensor fits if no value is too large or not finite, and at most a hundredth of those other than zero are lost.
        """
        if self.casts.nonfinite or not self.count:
            return "no"
        if not self.casts.to(self.fp8).overflow and self.lost <= MOST_LOST:
            return "as it is"
        return "scaled" if self.lost_scaled <= MOST_LOST else "no"

    def fraction(self, number: int) -> float:
        """Returns a number of values as a fraction of the finite ones."""
        return number / self.count if self.count else 0.0

    def _fraction_of_nonzero(self, number: int) -> float:
        nonzero = self.count - self.casts.histogram.zeros
        return number / nonzero if nonzero else 0.0

    def fractions(self, format_name: str) -> dict[str, float]:
        """Returns the fields of `CastCounts` of a format as fractions of the finite values."""
        counts = self.casts.to(format_name)
        fractions = map(self.fraction, counts)
        return dict(zip(CastCounts._fields, fractions, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Returns names and numbers, fit for JSON."""
        return {
            "tensor": self.tensor,
            "name": self.name,
            "step": self.step,
            "count": self.count,
            "nonfinite": self.casts.nonfinite,
            "largest": self.largest,
            "formats": {name: self.casts.to(name)._asdict() for name in FORMATS},
            "fp8": self.fp8,
            "fits": self.fits,
            "scale": self.scale,
            "lost": self.lost,
            "lost_scaled": self.lost_scaled,
        }


def largest_scale(magnitude: float, target: Format) -> int:
    """Returns the exponent of the largest power of two that keeps a magnitude in the range of a format.

    Args:
        magnitude: Positive number.
        target: Format that is cast to.

    Example:
        >>> largest_scale(1.0, FORMATS["e4m3"]), largest_scale(448.0, FORMATS["e4m3"])
        (8, 0)
    """
    mantissa, exponent = math.frexp(magnitude)
    most, highest = math.frexp(target.largest)
    return highest - exponent - (mantissa > most)


def most_underflow(histogram: Histogram, target: Format, scale: int) -> int:
    """Returns how many values become zero at most, multiplied by 2**scale and cast; zeros are left out.

    Args:
        histogram: Distribution of the values.
        target: Format that is cast to.
        scale: Exponent of a power of two.
    """
    exponent = target.smallest - 1 - scale  # of the largest value lost
    last = max(0, (exponent - FIRST) * STEPS + 1)
    places = np.abs(histogram.bins - AROUND_ZERO)
    return int(histogram.counts[places <= last].sum()) - histogram.zeros
