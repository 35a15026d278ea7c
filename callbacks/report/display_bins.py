"""Display bins: the up to thousands of bins of a histogram, merged into the about 20 that a chart needs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..measure.bins import BINS, EDGES
from ..measure.histogram import Counts, Floats, Histogram

CELLS = 12
"""Cells of equal width that the range of a histogram is divided into."""

LEVELS = np.array([0.0668, 0.1587, 0.3085, 0.5, 0.6915, 0.8413, 0.9332])
"""Fractions of the values below the quantiles that TensorBoard draws of a distribution."""

PEAK = 1 / 16
"""Fraction of the values from which a bin is a peak, such as the bin of exact zeros."""

GAP = 1 / 30
"""Fraction of the range from which a gap is shown: the width of a bar, of which TensorBoard draws 30."""

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


class DisplayBins(NamedTuple):
    """Bins in TensorBoard's form: the first begins at the lowest value, the last ends at the highest.

    Attributes:
        limits: Right edges, ascending.
        counts: Number of values in each bin.
    """

    limits: list[float]
    counts: list[float]


def display_bins(histograms: Sequence[Histogram]) -> list[DisplayBins]:
    """Merges neighbouring bins of each histogram; all histograms of a step together take hardly longer than one.

    A display bin ends at each edge of a cell and at each of the `LEVELS`. Single bins are not merged: peaks, and the
    outermost bins, where a saturated activation has its values.

    Args:
        histograms: Histograms of at least one finite value each.
    """
    if not histograms:
        return []
    fine = FineBins(histograms)
    single = fine.single_bins()
    begins = np.append(single, False)  # the last level can end after the last bin
    begins[1:] |= single
    begins[fine.cell_starts()] = True
    begins[fine.level_ends()] = True
    merged = merge(fine, np.flatnonzero(begins[:-1]), single)
    return close_gaps(merged, GAP * fine.high - GAP * fine.low)


class FineBins:
    """Bins of `n` histograms, `k` in all, one histogram after the other.

    Args:
        histograms: At least one histogram.
    """

    def __init__(self, histograms: Sequence[Histogram]) -> None:
        moments = [histogram.moments for histogram in histograms]
        self.low = np.array([m.low for m in moments])
        self.high = np.array([m.high for m in moments])
        self.totals = np.array([m.count for m in moments])
        self.bins: Counts = np.concatenate([h.bins for h in histograms])
        self.counts: Counts = np.concatenate([h.counts for h in histograms])
        self.cumulative = self.counts.cumsum()
        self.sizes = np.array([len(h.bins) for h in histograms])
        self.last = self.sizes.cumsum() - 1
        self.first = self.last - self.sizes + 1
        self.owners = np.arange(len(histograms))

    def left(self, bins: Indices, owners: Indices) -> Floats:
        """Left edges of some bins, clipped to the lowest values of the histograms that own the bins."""
        edges = EDGES[self.bins[bins]]
        return np.maximum(edges, self.low[owners])

    def right(self, bins: Indices, owners: Indices) -> Floats:
        """Right edges of some bins, clipped to the highest values."""
        edges = EDGES[self.bins[bins] + 1]
        return np.minimum(edges, self.high[owners])

    def cell_starts(self) -> Indices:
        """`(n, CELLS - 1)` index of the first bin of each cell but the lowest."""
        fractions = np.arange(1, CELLS) / CELLS
        # Not low + (high - low) * fractions: the difference can overflow.
        edges = np.outer(self.low, 1 - fractions)
        edges += np.outer(self.high, fractions)
        numbers = EDGES.searchsorted(edges, "right") - 1
        offsets = (
            self.owners * BINS
        )  # with offsets, the numbers of all histograms ascend
        ascending = self.bins + offsets.repeat(self.sizes)
        return ascending.searchsorted(numbers + offsets[:, None])

    def level_ends(self) -> Indices:
        """`(n, len(LEVELS))` index after the bin that each level falls into."""
        before = self.cumulative[self.last] - self.totals
        levels = np.outer(self.totals, LEVELS) + before[:, None]
        return self.cumulative.searchsorted(levels) + 1

    def single_bins(self) -> Mask:
        """`(k,)` mask of the bins that are not merged.

        An outermost bin can be a single number, such as 1.0; then its neighbour is not merged either.
        """
        limits = PEAK * self.totals
        single = self.counts > limits.repeat(self.sizes)
        single[self.first] = single[self.last] = True
        is_number = self.right(self.first, self.owners) == self.low
        single[np.minimum(self.first + is_number, self.last)] = True
        is_number = self.left(self.last, self.owners) == self.high
        single[np.maximum(self.last - is_number, self.first)] = True
        return single


class MergedBins(NamedTuple):
    """Merged bins of all histograms, one histogram after the other."""

    left: Floats
    right: Floats
    counts: Counts
    single: Mask  # of the bins that were not merged
    owners: Indices  # number of the histogram that a bin belongs to


def merge(fine: FineBins, starts: Indices, single: Mask) -> MergedBins:
    """Merges each bin in `starts` with the bins that follow.

    Args:
        fine: Bins of all histograms.
        starts: `(m,)` index of the first bin of each merged bin.
        single: `(k,)` mask of the bins that are not merged.
    """
    ends = np.append(starts[1:], len(fine.bins)) - 1
    owners = fine.last.searchsorted(starts)
    left = fine.left(starts, owners)
    right = fine.right(ends, owners)
    counts = np.add.reduceat(fine.counts, starts)
    return MergedBins(left, right, counts, single[starts], owners)


def close_gaps(merged: MergedBins, limits: Floats) -> list[DisplayBins]:
    """Fills the gaps between the bins of a histogram, since display bins are given by their right edges alone.

    A wide gap is filled by an empty bin. A narrow gap is left to a neighbour that is not single, so that peaks stay
    narrow; between two single bins any gap is wide.

    Args:
        merged: Bins of all histograms.
        limits: `(n,)` width from which a gap of a histogram is wide.
    """
    left, right, counts, single, owners = merged
    limits = limits[owners[1:]]
    limits[single[1:] & single[:-1]] = 0
    same_owner = owners[1:] == owners[:-1]
    wide = same_owner & (left[1:] - right[:-1] > limits)
    narrow = same_owner & single[1:] & ~wide
    right[:-1][narrow] = left[1:][narrow]

    empty = np.append(False, wide)
    keep = np.stack([empty, np.ones_like(empty)], axis=1)
    edges = np.stack([left, right], axis=1)[keep]
    counts = np.stack([np.zeros_like(counts), counts], axis=1)[keep]
    return split(edges, counts, owners.repeat(keep.sum(1)))


def split(limits: Floats, counts: Counts, owners: Indices) -> list[DisplayBins]:
    """Returns the display bins of each histogram."""
    is_last = owners[1:] != owners[:-1]
    ends = [*(np.flatnonzero(is_last) + 1).tolist(), len(owners)]
    starts = [0, *ends[:-1]]
    all_limits, all_counts = limits.tolist(), counts.tolist()
    display = []
    for start, end in zip(starts, ends, strict=True):
        display.append(DisplayBins(all_limits[start:end], all_counts[start:end]))
    return display
