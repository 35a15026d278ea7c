"""Histograms as a chart shows them: of thousands of bins, a few dozen."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ._bins import EDGES
from ._histogram import Counts, Floats, Histogram

CELLS = 30
"""Bins that TensorBoard draws of a histogram."""

LEVELS = np.array([0.0668, 0.1587, 0.3085, 0.5, 0.6915, 0.8413, 0.9332])
"""Shares of the values whose quantiles it draws of a distribution."""

HEAVY = 1 / 16
"""Share of the values with which a bin stays as it is: a peak, as of zeros."""


def chart_bins(histograms: Sequence[Histogram]) -> list[tuple[list[float], list[float]]]:
    """Joins neighbouring bins into as few as a chart shows, for TensorBoard takes its time for each byte.

    Those that begin in the same `CELLS`-th of the range are joined, but for a cut at each of the `LEVELS`. `HEAVY` bins
    stay alone, and the outermost, where a saturated activation has its values. Where there are no values over more than
    such a part of the range, the bin is empty.

    Args:
        histograms: Of at least one finite value each. They are joined in one go: that takes hardly longer than one.

    Returns:
        Of each its right edges, ascending, and its counts. The first bin begins at the lowest value.
    """
    if not histograms:
        return []
    bins = _Bins(histograms)
    alone = bins.stay_alone()
    begins = bins.first_of_cell() | bins.above_level() | alone
    begins[1:] |= alone[:-1]
    return bins.join(np.flatnonzero(begins), alone)


class _Bins:
    """The bins of several histograms, one after the other.

    Args:
        histograms: One at least.
    """

    def __init__(self, histograms: Sequence[Histogram]) -> None:
        self.sizes = np.array([len(histogram.bins) for histogram in histograms])
        self.last = self.sizes.cumsum() - 1
        self.first = self.last - self.sizes + 1
        self.total = np.array([histogram.moments.count for histogram in histograms])
        low = np.array([histogram.moments.low for histogram in histograms])
        high = np.array([histogram.moments.high for histogram in histograms])
        bins = np.concatenate([histogram.bins for histogram in histograms])
        self.counts: Counts = np.concatenate([histogram.counts for histogram in histograms])
        self.left: Floats = EDGES[bins]
        self.right: Floats = EDGES[bins + 1]
        self.left[self.first], self.right[self.last] = low, high
        cell = high / CELLS - low / CELLS  # which cannot overflow
        self.cell = np.where(cell > 0, cell, 1.0)
        self.low = low / self.cell

    def first_of_cell(self) -> np.ndarray:
        """Tells of each bin whether it is the first of a cell."""
        cell = (self.left / self._of_each(self.cell) - self._of_each(self.low)).astype(np.int64)
        begins = np.ones(len(cell), dtype=bool)
        begins[1:] = cell[1:] != cell[:-1]
        return begins

    def above_level(self) -> np.ndarray:
        """Tells of each bin whether it is the first above a level."""
        below = self.total.cumsum() - self.total
        levels = (below[:, None] + self.total[:, None] * LEVELS).ravel()
        begins = np.zeros(len(self.counts) + 1, dtype=bool)
        begins[self.counts.cumsum().searchsorted(levels) + 1] = True
        return begins[:-1]

    def stay_alone(self) -> np.ndarray:
        """Tells of each bin whether it is not joined: a peak, and the outermost, of more than one value and at all."""
        alone = self.counts > self._of_each(HEAVY * self.total)
        alone[self.first] = alone[self.last] = True
        is_one_value = self.left == self.right  # as the first and the last may be
        alone[np.minimum(self.first + is_one_value[self.first], self.last)] = True
        alone[np.maximum(self.last - is_one_value[self.last], self.first)] = True
        return alone

    def join(self, starts: np.ndarray, alone: np.ndarray) -> list[tuple[list[float], list[float]]]:
        """Joins to each bin in `starts` those that follow, and puts empty ones between them."""
        left, right = self.left[starts], self.right[np.append(starts[1:], len(self.left)) - 1]
        cell, first = self._of_each(self.cell)[starts], starts.searchsorted(self.first)
        gap = left / cell - np.roll(right / cell, 1)
        empty = (gap > 1) | alone[starts] & (gap > 0)
        empty[first] = False
        places = np.arange(len(starts)) + empty.cumsum()
        joined = np.zeros((2, places[-1] + 1))
        joined[:, places] = right, np.add.reduceat(self.counts, starts)
        joined[0, places[empty] - 1] = left[empty]
        limits, counts = joined.tolist()
        cuts = pairwise([*places[first].tolist(), len(limits)])
        return [(limits[start:end], counts[start:end]) for start, end in cuts]

    def _of_each(self, values: np.ndarray) -> np.ndarray:
        """Repeats what there is of each histogram for each of its bins."""
        return values.repeat(self.sizes)
