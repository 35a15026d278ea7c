"""Casts: numbers of the values of a tensor that narrower formats would make zero, subnormal or infinite."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .bins import AROUND_ZERO, BINS, HALF
from .formats import FORMATS, Integers, Limits, limits_of
from .histogram import Counts, Histogram
from .moments import Moments
from .pieces import split_into_pieces


class CastCounts(NamedTuple):
    """Numbers of finite values by the results of a cast to one format."""

    zero: int
    """Zeros, among them those that were zero."""
    underflow: int
    """Zeros that were not zero."""
    subnormal: int
    """Numbers that are not zero and below the smallest normal one."""
    overflow: int
    """Values beyond the largest number: infinities; of e4m3, which has none, NaN or its largest number."""


@dataclass(frozen=True, eq=False)
class Casts:
    """Counts of the results of casts to all `FORMATS`, beside the histogram of the values.

    Attributes:
        histogram: Distribution of the values.
        reached: `(k,)` numbers of finite values at or beyond each of the limits, see `Limits`.

    Example:
        >>> casts = Casts.of(torch.tensor([0.0, 1e-4, 0.01, 1.0, 1000.0]))
        >>> casts.to("e4m3")
        CastCounts(zero=2, underflow=1, subnormal=1, overflow=1)
        >>> (casts + casts).to("fp16")
        CastCounts(zero=2, underflow=0, subnormal=0, overflow=0)
    """

    histogram: Histogram
    reached: Counts

    @classmethod
    def of(cls, values: Tensor) -> "Casts":
        """Measures a CPU tensor of any floating point type, shape and strides."""
        histogram = Histogram.of(values)
        dtype = torch.float64 if values.dtype == torch.float64 else torch.float32
        limits = limits_of(dtype)
        (reached,), (undecided,) = reached_by_bins(
            histogram.bins, histogram.counts, 1, limits
        )
        if undecided.any():
            counts = _count_reached(values, limits.patterns[undecided])
            reached[undecided] = counts - histogram.nonfinite
        return cls(histogram, reached)

    @classmethod
    def of_zeros(cls, count: int) -> "Casts":
        """Returns the casts of `count` zeros, at least one."""
        return cls(Histogram.of_zeros(count), np.zeros(3 * len(FORMATS), np.int64))

    @property
    def moments(self) -> Moments:
        """Count, mean, spread and extremes."""
        return self.histogram.moments

    @property
    def nonfinite(self) -> int:
        """Number of NaN and infinite values."""
        return self.moments.nonfinite

    def to(self, name: str) -> CastCounts:
        """Returns the counts of a format by its name, such as "fp16"."""
        first = 3 * list(FORMATS).index(name)
        nonzero, normal, beyond = self.reached[first : first + 3].tolist()
        zero = self.moments.count - nonzero
        underflow = zero - self.histogram.zeros
        return CastCounts(zero, underflow, nonzero - normal, beyond)

    def __add__(self, other: "Casts") -> "Casts":
        """Pools two sets of values."""
        return Casts(self.histogram + other.histogram, self.reached + other.reached)


def reached_by_bins(
    keys: Integers, counts: Counts, tensors: int, limits: Limits
) -> tuple[Counts, NDArray[np.bool_]]:
    """Counts the values of tensors in the bins beyond each limit.

    Args:
        keys: `(n,)` numbers of bins, of the i-th tensor plus `i * BINS`, ascending.
        counts: `(n,)` number of values in each.
        tensors: Number of tensors.
        limits: Limits for values of their type.

    Returns:
        `(tensors, k)` counts, and the mask of those that the bins do not decide: the limit is inside of one.
    """
    at_least = _count_at_least(keys, counts, tensors, limits.places)
    beyond = _count_at_least(keys, counts, tensors, limits.places + 1)
    undecided = limits.inside & (at_least > beyond)
    return np.where(limits.inside, beyond, at_least), undecided


def _count_at_least(
    keys: Integers, counts: Counts, tensors: int, places: Integers
) -> Counts:
    """Counts the values in bins at these distances from the bin around zero, or farther."""
    total = np.append(0, counts.cumsum())
    center = np.arange(tensors)[:, None] * BINS + AROUND_ZERO
    first = np.searchsorted(keys, center - places, side="right")
    last = np.searchsorted(keys, center + places, side="left")
    whole = total[np.searchsorted(keys, center + HALF + 2)]
    before = total[np.searchsorted(keys, center - HALF - 1)]
    return whole - before - (total[np.maximum(first, last)] - total[first])


def magnitudes_of(values: NDArray[np.floating]) -> NDArray[np.integer]:
    """Returns the bits of contiguous float32 or float64 values without the sign."""
    integer = np.dtype(f"i{values.itemsize}").type
    return values.view(integer) & np.iinfo(integer).max


def _count_reached(values: Tensor, patterns: Integers) -> Counts:
    """Counts the values at or beyond limits, with NaN and infinities."""
    counts = np.zeros(len(patterns), np.int64)
    for piece in split_into_pieces(values):
        magnitudes = magnitudes_of(piece.numpy())
        for place, pattern in enumerate(patterns.tolist()):
            counts[place] += np.count_nonzero(magnitudes >= pattern)
    return counts
