"""Statistics of many small CPU tensors at once: one pass over all of them costs little more than over one."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .bins import AROUND_ZERO, BINS, LAYOUTS, bins_of_patterns, leading_bits
from .casts import Casts, magnitudes_of, reached_by_bins
from .formats import limits_of
from .histogram import Counts, Histogram
from .moments import Moments
from .pieces import plain, widened
from .statistic import CastsOf, Distribution, HistogramOf, MomentsOf

SMALL = 2**15
"""Values of a tensor that is worth joining with others."""

TOGETHER = 2**17
"""Values that are measured together at most, so that the CPU's cache holds them."""

CANCELLED = 1e-7
"""Below this fraction of the sum of squares in float64, the squared deviations have lost digits to cancellation."""

TENSORS_TOGETHER = 64
"""Tensors that are measured together at most: each needs room for all bins."""


class JoinedTensors:
    """Small CPU tensors of one widened type, one after the other in one array.

    Args:
        tensors: At least one, each of at least one value, any shape and strides.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = [widened(plain(tensor).reshape(-1)) for tensor in tensors]
        self.values: NDArray[np.floating] = torch.cat(self.tensors).numpy()
        self.sizes = np.array([len(tensor) for tensor in self.tensors])
        self.starts = self.sizes.cumsum() - self.sizes

    def moments(self) -> list[Moments | None]:
        """Measures the moments of each tensor; None of a tensor that needs more than one pass.

        Those are tensors with NaN or infinities, with squares out of range, or with a mean far larger than the spread.
        """
        totals, squares = self._sums()
        low = np.minimum.reduceat(self.values, self.starts)
        high = np.maximum.reduceat(self.values, self.starts)
        means = totals / self.sizes
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # NaN, infinities, float64 beyond 1e154
            deviations = squares - totals * means
            one_pass = np.isfinite(squares) & (
                (deviations >= CANCELLED * squares) | (low == high)
            )
        means = np.where(
            low == high, low, means
        )  # no spread at all, whatever the sums were rounded to
        deviations[low == high] = 0.0
        columns = (self.sizes, means, deviations, low, high)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        measured = (Moments(*row) for row in rows)
        return [
            moments if simple else None
            for moments, simple in zip(measured, one_pass.tolist(), strict=True)
        ]

    def _sums(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns the sum of each tensor and that of its squares."""
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # NaN (also signaling), infinities, float64 beyond 1e154
            numbers = self.values.astype(np.float64)
            totals = np.add.reduceat(numbers, self.starts)
            np.multiply(numbers, numbers, out=numbers)
            return totals, np.add.reduceat(numbers, self.starts)

    @cached_property
    def bin_counts(self) -> tuple[Counts, Counts]:
        """Counts of all values by bin.

        Returns:
            `(k,)` numbers of the bins that are not empty, of the i-th tensor plus `i * BINS`, ascending, and `(k,)`
            counts.
        """
        number = len(self.tensors)
        layout = LAYOUTS[self.tensors[0].dtype]
        keys = bins_of_patterns(leading_bits(self.values), layout).astype(np.int32)
        keys += np.repeat(np.arange(number, dtype=np.int32) * BINS, self.sizes)
        counts: Counts = torch.bincount(
            torch.from_numpy(keys), minlength=number * BINS
        ).numpy()
        filled = np.flatnonzero(counts != 0)
        return filled, counts[filled]

    def histograms(self) -> list[Histogram]:
        """Measures the histogram of each tensor."""
        keys, counts = self.bin_counts
        bins = keys % BINS
        boundaries = np.searchsorted(keys, np.arange(len(self.tensors) + 1) * BINS)
        near_zero = bool((bins == AROUND_ZERO).any())
        zeros = (
            np.add.reduceat(self.values == 0, self.starts, dtype=np.int64)
            if near_zero
            else 0 * self.sizes
        )
        histograms: list[Histogram] = []
        for index, moments in enumerate(self.moments()):
            if moments is None:
                histograms.append(Histogram.of(self.tensors[index]))
                continue
            bins_of_tensor = slice(boundaries[index], boundaries[index + 1])
            histograms.append(
                Histogram(
                    moments,
                    bins[bins_of_tensor],
                    counts[bins_of_tensor],
                    int(zeros[index]),
                )
            )
        return histograms

    def casts(self) -> list[Casts]:
        """Measures the casts of each tensor."""
        limits = limits_of(self.tensors[0].dtype)
        reached, undecided = reached_by_bins(
            *self.bin_counts, len(self.tensors), limits
        )
        magnitudes = magnitudes_of(self.values)
        patterns = limits.patterns.tolist()
        for place in np.flatnonzero(undecided.any(0)).tolist():
            reached[:, place] = self._count_true(magnitudes >= patterns[place])
        return [
            # NaN and infinities are beyond all limits.
            Casts(histogram, counts - histogram.nonfinite)
            for histogram, counts in zip(self.histograms(), reached, strict=True)
        ]

    def _count_true(self, mask: NDArray[np.bool_]) -> list[int]:
        """Counts the values of each tensor for which a mask is True; `reduceat` takes ten times as long."""
        stops = self.starts + self.sizes
        pairs = zip(self.starts.tolist(), stops.tolist(), strict=True)
        return [int(np.count_nonzero(mask[start:stop])) for start, stop in pairs]

    def measure(self, statistic: Distribution) -> Sequence[Any]:
        """Measures a statistic of each tensor; moments may be None, see `moments`."""
        if isinstance(statistic, CastsOf):
            return self.casts()
        if isinstance(statistic, HistogramOf):
            return self.histograms()
        return self.moments()


SINGLE: dict[type[Distribution], Callable[[Tensor], Any]] = {
    MomentsOf: Moments.of,
    HistogramOf: Histogram.of,
    CastsOf: Casts.of,
}
"""Measurements of one CPU tensor."""


def measure_together(tensors: Sequence[Tensor], statistic: Distribution) -> list[Any]:
    """Measures CPU tensors of at least one value each, small ones together.

    Args:
        tensors: Any floating point types, shapes and strides.
        statistic: Statistic of each.
    """
    results: list[Any] = [None] * len(tensors)
    for indices in _groups(tensors):
        joined = JoinedTensors([tensors[index] for index in indices])
        for index, result in zip(indices, joined.measure(statistic), strict=True):
            results[index] = result
    single = SINGLE[type(statistic)]
    return [
        single(tensors[index]) if result is None else result
        for index, result in enumerate(results)
    ]


def _groups(tensors: Sequence[Tensor]) -> list[list[int]]:
    """Indices of tensors to be measured together: small, of one widened type, and within the limits."""
    groups: list[list[int]] = []
    open_groups: dict[bool, tuple[list[int], int]] = {}
    for index, tensor in enumerate(tensors):
        size, double = tensor.numel(), tensor.dtype == torch.float64
        if size > SMALL:
            continue
        group, total = open_groups.get(double, ([], 0))
        if not group or total + size > TOGETHER or len(group) == TENSORS_TOGETHER:
            group, total = [], 0
            groups.append(group)
        group.append(index)
        open_groups[double] = group, total + size
    return groups
