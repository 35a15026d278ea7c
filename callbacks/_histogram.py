"""Histograms whose edges are known before the values are: they need no look at the range, and any two add up."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ._statistics import Moments, chunks, on_host

STEPS = 64
"""Bins an octave, of equal width: the last below 1.0 is [0.9922, 1), so that saturation shows."""
FIRST, LAST = -48, 16
"""Octaves with bins of their own: magnitudes from 2**-48 (3.6e-15) up to 2**16 (65 536)."""
HALF = (LAST - FIRST) * STEPS
BINS = 2 * HALF + 3
"""Too low, the negative bins, around zero, the positive bins, too high."""
AROUND_ZERO = HALF + 1

# How a floating point number is laid out: its integer twin, bits of the mantissa, bits and bias of the exponent.
LAYOUTS = {torch.float32: (torch.int32, 23, 8, 127), torch.float64: (torch.int64, 52, 11, 1023)}


def count_bins(values: Tensor) -> Tensor:
    """Counts values into `BINS` bins; waits for no device, and asks for no range.

    The sign, the exponent and the first bits of the mantissa of a floating point number are, read as an integer, the
    number of its bin: values are shifted and counted, never compared with edges. NaN and infinities are left out, for
    `sum_moments` counts them.

    Args:
        values: Any shape and strides, any floating point type.

    Returns:
        `(BINS,)` counts, int64, on the device of the values.
    """
    first, *others = (_count_patterns(part) for part in chunks(values))
    return _fold(sum(others, start=first), values.dtype)


def _count_patterns(part: Tensor) -> Tensor:
    """Counts the leading bits: `(2 * exponents * STEPS,)`, negative numbers first, each half by magnitude."""
    integer, mantissa, exponent, _ = LAYOUTS[part.dtype]
    half = STEPS << exponent
    leading = (part.view(integer) >> (mantissa - STEPS.bit_length() + 1)).add_(half)
    if on_host(part):  # the fastest there; elsewhere it would wait for the device, to learn the largest
        return torch.bincount(leading, minlength=2 * half)
    counts = torch.zeros(2 * half, dtype=torch.int64, device=part.device)
    return counts.scatter_add_(0, leading.long(), counts.new_ones(()).expand(leading.shape))


def _fold(patterns: Tensor, dtype: torch.dtype) -> Tensor:
    """Puts the bins in the order of their values, and together those beyond the first and the last octave."""
    _, _, exponent, bias = LAYOUTS.get(dtype, LAYOUTS[torch.float32])
    by_octave = patterns.view(2, 1 << exponent, STEPS)
    finite = by_octave[:, :-1]  # the last exponent is that of NaN and infinities
    negative, positive = finite[:, bias + FIRST : bias + LAST].reshape(2, -1)
    too_low, too_high = finite[:, bias + LAST :].sum(dim=(1, 2))
    around_zero = finite[:, : bias + FIRST].sum()
    return torch.cat([too_low[None], negative.flip(0), around_zero[None], positive, too_high[None]])


def _edges() -> Tensor:
    """The `(BINS + 1,)` edges, float64: -inf, -65 536, ..., -2**-48, 2**-48, ..., 65 536, +inf."""
    octaves = 2.0 ** torch.arange(FIRST, LAST, dtype=torch.float64)
    steps = 1 + torch.arange(STEPS, dtype=torch.float64) / STEPS
    positive = torch.cat([(octaves[:, None] * steps).flatten(), torch.tensor([2.0**LAST, math.inf])])
    return torch.cat([-positive.flip(0), positive])


@dataclass(frozen=True)
class Histogram:
    """How the values of a tensor are spread: every finite value stands in a bin, the others are counted.

    Attributes:
        moments: Count, mean, spread and extremes.
        bins: `(k,)` numbers of the bins that hold values, ascending.
        counts: `(k,)` how many each of them holds.
        zeros: How many values are exactly zero; they stand in the bin around zero.

    Example:
        >>> seen = Histogram.of(torch.tensor([0.0, 0.5, 0.993, 0.9975, 1.0, float("inf")]))
        >>> seen.right.tolist(), seen.counts.tolist()
        ([3.552713678800501e-15, 0.5078125, 1.0, 1.0], [1, 1, 2, 1])
        >>> seen.zeros, seen.moments.nonfinite
        (1, 1)
    """

    moments: Moments
    bins: Tensor
    counts: Tensor
    zeros: int

    @classmethod
    def of(cls, values: Tensor) -> "Histogram":
        """Measures a tensor at once, waiting for its device."""
        zeros = values.numel() - int(torch.count_nonzero(values))
        return cls.from_counts(Moments.of(values), count_bins(values).cpu(), zeros)

    @classmethod
    def from_counts(cls, moments: Moments, counts: Tensor, zeros: int) -> "Histogram":
        """Keeps what is not empty of `(BINS,)` counts on the host."""
        bins = counts.nonzero().flatten()
        return cls(moments, bins, counts[bins], zeros)

    @property
    def nonfinite(self) -> int:
        """How many values are NaN or infinite."""
        return self.moments.nonfinite

    @property
    def left(self) -> Tensor:
        """`(k,)` left edges, float64; of the bins at the ends the lowest and highest value, where those are nearer."""
        return self._within(EDGES[self.bins])

    @property
    def right(self) -> Tensor:
        """`(k,)` right edges, likewise."""
        return self._within(EDGES[self.bins + 1])

    def _within(self, edge: Tensor) -> Tensor:
        return edge.clamp(self.moments.low, self.moments.high) if len(edge) else edge

    @property
    def near_zero(self) -> int:
        """How many values are too small for a bin of their own, and not zero."""
        return int(self.counts[self.bins == AROUND_ZERO].sum()) - self.zeros

    @property
    def too_large(self) -> int:
        """How many finite values are of a magnitude of 65 536 or more."""
        return int(self.counts[(self.bins == 0) | (self.bins == BINS - 1)].sum())

    def __add__(self, other: "Histogram") -> "Histogram":
        """Pools two sets of values."""
        bins, place = torch.cat([self.bins, other.bins]).unique(return_inverse=True)
        counts = torch.zeros_like(bins).index_add_(0, place, torch.cat([self.counts, other.counts]))
        return Histogram(self.moments + other.moments, bins, counts, self.zeros + other.zeros)

    def count_between(self, limits: Tensor) -> Tensor:
        """Counts into other bins, taking the values of a bin as evenly spread over it.

        Args:
            limits: `(m + 1,)` ascending edges, float64.

        Returns:
            `(m,)` counts, float64, not whole: values outside are left out, those on the outermost limits are not.
        """
        reach = limits[:, None] - self.left
        width = self.right - self.left
        spread = reach / width.clamp(min=math.ulp(0.0))
        spread = torch.where(width > 0, spread.clamp(0, 1), (reach >= 0).double())
        spread[0] = torch.where(width > 0, spread[0], (reach[0] > 0).double())
        return (spread @ self.counts.double()).diff()

    def quantile(self, share: float) -> float:
        """Returns the value that this share of the values lies below, to the width of a bin."""
        if not len(self.bins):
            return math.nan
        below = self.counts.cumsum(0)
        place = int(torch.searchsorted(below, share * int(below[-1])))
        return float(self.right[min(place, len(below) - 1)])


EDGES = _edges()
