"""How the values of a tensor are spread."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ._bins import AROUND_ZERO, BINS, EDGES, PatternCounts
from ._statistics import Moments, Pieces, measure_moments

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Histogram:
    """How the values of a tensor are spread: every finite value stands in a bin, the others are counted.

    Attributes:
        moments: Count, mean, spread and extremes.
        bins: `(k,)` numbers of the bins that hold values, ascending.
        counts: `(k,)` how many each of them holds.
        zeros: How many values are exactly zero; they stand in the bin around zero.

    Example:
        >>> import torch
        >>> seen = Histogram.of(torch.tensor([0.0, 0.5, 0.993, 0.9975, 1.0, float("inf")]))
        >>> seen.right.tolist(), seen.counts.tolist()
        ([3.552713678800501e-15, 0.5078125, 1.0, 1.0], [1, 1, 2, 1])
        >>> seen.zeros, seen.moments.nonfinite
        (1, 1)
    """

    moments: Moments
    bins: Counts
    counts: Counts
    zeros: int

    @classmethod
    def of(cls, values: Tensor) -> "Histogram":
        """Measures a tensor in main memory, in one pass."""
        pieces = Pieces(values)
        patterns = PatternCounts(pieces.dtype)
        moments = measure_moments(pieces, patterns.add)
        return cls(moments, *patterns.bins(), patterns.zeros)

    @classmethod
    def of_zeros(cls, count: int) -> "Histogram":
        """Returns that of so many zeros, one at least."""
        return cls(Moments(count, low=0.0, high=0.0), np.array([AROUND_ZERO]), np.array([count]), count)

    @classmethod
    def from_counts(cls, moments: Moments, counts: Counts, zeros: int) -> "Histogram":
        """Keeps what is not empty of `(BINS,)` counts."""
        bins = np.flatnonzero(counts != 0)
        return cls(moments, bins, counts[bins], zeros)

    @property
    def nonfinite(self) -> int:
        """How many values are NaN or infinite."""
        return self.moments.nonfinite

    @property
    def left(self) -> Floats:
        """`(k,)` left edges; of the bins at the ends the lowest and highest value, where those are nearer."""
        return self._within(EDGES[self.bins])

    @property
    def right(self) -> Floats:
        """`(k,)` right edges, likewise."""
        return self._within(EDGES[self.bins + 1])

    def _within(self, edge: Floats) -> Floats:
        return np.minimum(np.maximum(edge, self.moments.low), self.moments.high)

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
        counts = np.zeros(BINS, dtype=np.int64)
        counts[self.bins] = self.counts
        counts[other.bins] += other.counts
        return Histogram.from_counts(self.moments + other.moments, counts, self.zeros + other.zeros)

    def count_between(self, limits: ArrayLike) -> Floats:
        """Counts into other bins, taking the values of a bin as evenly spread over it.

        Args:
            limits: `(m + 1,)` ascending edges.

        Returns:
            `(m,)` counts, not whole: values outside are left out, those on the outermost limits are not.
        """
        reach = np.asarray(limits, dtype=np.float64)[:, None] - self.left
        width = self.right - self.left
        with np.errstate(over="ignore", invalid="ignore"):  # at the ends of what a double can hold
            spread = (reach / np.where(width > 0, width, 1)).clip(0, 1)
        spread[:, width == 0] = reach[:, width == 0] >= 0
        spread[0, width == 0] = reach[0, width == 0] > 0
        return np.diff(spread @ self.counts)

    def quantile(self, share: float) -> float:
        """Returns the value that this share of the values lies below, to the width of a bin."""
        if not len(self.bins):
            return math.nan
        below = self.counts.cumsum()
        place = int(np.searchsorted(below, share * int(below[-1])))
        return float(self.right[min(place, len(below) - 1)])
