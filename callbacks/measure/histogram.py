"""Histogram: counts of values in the fixed bins of `bins`."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .bins import AROUND_ZERO, BINS, EDGES, LAYOUTS, Layout, bins_of_patterns
from .moments import Moments
from .pieces import sum_pieces

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Histogram:
    """Distribution of the values of a tensor: every finite value is in a bin, NaN and infinities are counted apart.

    Attributes:
        moments: Count, mean, spread and extremes.
        bins: `(k,)` numbers of the bins that are not empty, ascending.
        counts: `(k,)` number of values in each of them.
        zeros: Number of values that are exactly zero; they are in the bin around zero.

    Example:
        >>> import torch
        >>> histogram = Histogram.of(torch.tensor([0.0, 0.5, 0.993, 0.9975, 1.0, float("inf")]))
        >>> histogram
        Histogram(5 values, mean 0.6981, std 0.4456, from 0 to 1, 1 NaN or Inf)
        >>> histogram.right.tolist(), histogram.counts.tolist()
        ([3.552713678800501e-15, 0.5078125, 1.0, 1.0], [1, 1, 2, 1])
        >>> histogram.zeros, histogram.nonfinite
        (1, 1)
    """

    moments: Moments
    bins: Counts
    counts: Counts
    zeros: int

    drawing: ClassVar[Callable[["Histogram"], Any]]
    """Draws a histogram; set by the part of the package that knows matplotlib."""

    def __repr__(self) -> str:
        moments = self.moments
        if not moments.count:
            return f"Histogram(no finite value, {moments.nonfinite} NaN or Inf)"
        spread = "" if moments.std is None else f", std {moments.std:.4g}"
        extremes = f"from {moments.low:.4g} to {moments.high:.4g}"
        nonfinite = f", {moments.nonfinite} NaN or Inf" if moments.nonfinite else ""
        return (
            f"Histogram({moments.count} values, mean {moments.mean:.4g}{spread}, "
            f"{extremes}{nonfinite})"
        )

    @classmethod
    def of(cls, values: Tensor) -> "Histogram":
        """Measures a CPU tensor of any floating point type, shape and strides, in one pass."""
        patterns = PatternCounts(
            torch.float64 if values.dtype == torch.float64 else torch.float32
        )
        moments = Moments(*sum_pieces(values, patterns.add))
        bins, counts = patterns.bins()
        return cls(moments, bins, counts, patterns.zeros)

    @classmethod
    def of_zeros(cls, count: int) -> "Histogram":
        """Returns the histogram of `count` zeros, at least one."""
        return cls(
            Moments(count, low=0.0, high=0.0),
            np.array([AROUND_ZERO]),
            np.array([count]),
            count,
        )

    @classmethod
    def from_counts(
        cls, moments: Moments, counts: NDArray[np.integer], zeros: int
    ) -> "Histogram":
        """Keeps the bins that are not empty of `(BINS,)` counts."""
        bins = np.flatnonzero(counts != 0)
        return cls(moments, bins, counts[bins].astype(np.int64), zeros)

    @property
    def nonfinite(self) -> int:
        """Number of NaN and infinite values."""
        return self.moments.nonfinite

    @property
    def left(self) -> Floats:
        """`(k,)` left edges; of the outermost bins the lowest or highest value where it is nearer."""
        return self._clip(EDGES[self.bins])

    @property
    def right(self) -> Floats:
        """`(k,)` right edges, clipped likewise."""
        return self._clip(EDGES[self.bins + 1])

    @property
    def near_zero(self) -> int:
        """Number of values below 2**-48 in magnitude that are not zero."""
        return int(self.counts[self.bins == AROUND_ZERO].sum()) - self.zeros

    @property
    def too_large(self) -> int:
        """Number of finite values of magnitude 65 536 or more."""
        return int(self.counts[(self.bins == 0) | (self.bins == BINS - 1)].sum())

    def __add__(self, other: "Histogram") -> "Histogram":
        """Pools two sets of values."""
        counts = np.zeros(BINS, dtype=np.int64)
        counts[self.bins] = self.counts
        counts[other.bins] += other.counts
        return Histogram.from_counts(
            self.moments + other.moments, counts, self.zeros + other.zeros
        )

    def plot(self) -> Any:
        """Draws the density of the values, as a `matplotlib.figure.Figure`, which a notebook shows.

        Raises:
            ValueError: If matplotlib is not installed.
        """
        return type(self).drawing(self)

    def count_between(self, limits: ArrayLike) -> Floats:
        """Counts into other bins, with the values of a bin taken as evenly distributed over it.

        Args:
            limits: `(m + 1,)` ascending edges.

        Returns:
            `(m,)` counts, not whole; values outside the limits are left out, values on the outermost limits are not.
        """
        reach = np.asarray(limits, dtype=np.float64)[:, None] - self.left
        width = self.right - self.left
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # edges near the largest float64
            fraction = (reach / np.where(width > 0, width, 1)).clip(0, 1)
        fraction[:, width == 0] = reach[:, width == 0] >= 0
        fraction[0, width == 0] = reach[0, width == 0] > 0
        return np.diff(fraction @ self.counts)

    def quantile(self, fraction: float) -> float:
        """Returns the value that this fraction of the values lies below, to the width of a bin."""
        if not len(self.bins):
            return math.nan
        below = self.counts.cumsum()
        place = int(np.searchsorted(below, fraction * int(below[-1])))
        return float(self.right[min(place, len(below) - 1)])

    def _clip(self, edges: Floats) -> Floats:
        return np.minimum(np.maximum(edges, self.moments.low), self.moments.high)


class PatternCounts:
    """Counts of the bit patterns of a large CPU tensor, added piece by piece.

    Counting patterns and mapping them to bins at the end is cheaper than mapping every value.

    Args:
        dtype: float32 or float64.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.layout = LAYOUTS[dtype]
        self.counts = np.zeros(2 * self.layout.patterns, dtype=np.int64)
        self.zeros = 0

    def add(self, piece: Tensor) -> None:
        """Counts a flat piece of values."""
        bits = piece.view(self.layout.integer)
        patterns = torch.bitwise_right_shift(bits, self.layout.dropped).bitwise_and_(
            len(self.counts) - 1
        )
        counts = torch.bincount(patterns, minlength=len(self.counts)).numpy()
        if (
            counts[0] or counts[self.layout.patterns]
        ):  # patterns of +0 and -0, and of the smallest subnormals
            self.zeros += piece.numel() - int(torch.count_nonzero(piece))
        self.counts += counts

    def bins(self) -> tuple[Counts, Counts]:
        """Returns `(k,)` bin numbers, ascending, and `(k,)` counts; NaN and infinities are left out."""
        patterns = np.flatnonzero(self.counts != 0)
        finite = patterns[
            (patterns & (self.layout.patterns - 1)) < self.layout.infinity
        ]
        counts = np.bincount(
            _bin_of_pattern(self.layout)[finite], self.counts[finite], BINS
        )
        bins = np.flatnonzero(counts != 0)
        return bins, counts[bins].astype(np.int64)


@cache
def _bin_of_pattern(layout: Layout) -> Counts:
    """`(2 * patterns,)` bin of each unsigned pattern, positive numbers first."""
    unsigned = np.arange(2 * layout.patterns)
    signed = np.where(
        unsigned < layout.patterns, unsigned, unsigned - 2 * layout.patterns
    )
    return bins_of_patterns(signed, layout).astype(np.int64)
