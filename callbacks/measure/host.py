"""Statistics of many small CPU tensors at once: one pass over all of them costs little more than over one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .bins import AROUND_ZERO, BINS, LAYOUTS, bins_of_patterns, leading_bits
from .histogram import Counts, Histogram
from .moments import Moments
from .pieces import plain, widened

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
        numbers = self.values.astype(np.float64)
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # NaN, infinities, float64 beyond 1e154
            totals = np.add.reduceat(numbers, self.starts)
            np.multiply(numbers, numbers, out=numbers)
            return totals, np.add.reduceat(numbers, self.starts)

    def bin_counts(self) -> tuple[Counts, Counts, list[int]]:
        """Counts all values into bins.

        Returns:
            `(k,)` bin numbers and `(k,)` counts of the bins that are not empty, tensor by tensor, and the boundaries
            between tensors.
        """
        number = len(self.tensors)
        layout = LAYOUTS[self.tensors[0].dtype]
        keys = bins_of_patterns(leading_bits(self.values), layout).astype(np.int32)
        keys += np.repeat(np.arange(number, dtype=np.int32) * BINS, self.sizes)
        counts: Counts = torch.bincount(
            torch.from_numpy(keys), minlength=number * BINS
        ).numpy()
        filled = np.flatnonzero(counts != 0)
        offsets = np.arange(number + 1) * BINS
        boundaries = np.searchsorted(filled, offsets)
        bins = filled - offsets[:-1].repeat(np.diff(boundaries))
        return bins, counts[filled], boundaries.tolist()

    def histograms(self) -> list[Histogram]:
        """Measures the histogram of each tensor."""
        bins, counts, boundaries = self.bin_counts()
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


def measure_together(tensors: Sequence[Tensor], with_histogram: bool) -> list[Any]:
    """Measures CPU tensors of at least one value each, small ones together.

    Args:
        tensors: Any floating point types, shapes and strides.
        with_histogram: Whether to return histograms, else moments.
    """
    results: list[Any] = [None] * len(tensors)
    for indices in _groups(tensors):
        joined = JoinedTensors([tensors[index] for index in indices])
        measured = joined.histograms() if with_histogram else joined.moments()
        for index, result in zip(indices, measured, strict=True):
            results[index] = result
    single = Histogram.of if with_histogram else Moments.of
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
