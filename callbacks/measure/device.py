"""Statistics of tensors on an accelerator: few kernels for many tensors, and no wait for the device.

Tensors are joined in rows of fixed length, padded with NaN, and reduced row by row; the CPU pools the rows of each
tensor once they have been copied there. What costs on a device is the number of kernels, not of bytes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .bins import (
    AROUND_ZERO,
    BINS,
    LAYOUTS,
    places_of_patterns,
    signs_of_patterns,
)
from .casts import Casts
from .fine_bins import AROUND_ZERO_FINE, FINE_BINS, casts_of_counts, reached_limits
from .histogram import Histogram
from .moments import Moments
from .pieces import plain, widened
from .statistic import CastsOf, Distribution, MomentsOf

ROW = 1024
"""Values of a row: short enough that a small tensor wastes little, long enough that rows are few."""

CHUNK = 2**22
"""Values that are reduced together at most, which bounds the memory of intermediate results."""

COLUMNS = 6
"""Numbers of a row: mean, sum of deviations, their squares, lowest, highest, number of values that are not finite."""


@dataclass(frozen=True)
class Segment:
    """Rows of a chunk that belong to one tensor.

    Attributes:
        index: Number of the tensor.
        rows: Range of rows.
        size: Number of values, without padding.
    """

    index: int
    rows: slice
    size: int


class Chunk(NamedTuple):
    """Tensors, or pieces of them, in rows."""

    rows: Tensor
    """`(rows, ROW)`, float32 or float64, padded with NaN."""
    segments: list[Segment]


class ChunkSums(NamedTuple):
    """Reduced chunk, still on its device."""

    segments: list[Segment]
    sums: Tensor
    """`(rows, COLUMNS)`."""
    counts: Tensor | None
    """`(segments, BINS)` or `(segments, FINE_BINS)` counts of the bins, int32."""
    nonzero: Tensor | None
    """`(rows,)` number of values that are not zero, with the padding, which is NaN."""
    dtype: torch.dtype
    """Type of the values, float32 or float64."""

    def tensors(self) -> list[Tensor]:
        """Tensors to be copied to the CPU."""
        return [
            tensor
            for tensor in (self.sums, self.counts, self.nonzero)
            if tensor is not None
        ]


def chunks_of(tensors: Sequence[Tensor]) -> Iterator[Chunk]:
    """Joins tensors of one device into chunks of `CHUNK` values at most, those of float64 apart."""
    for double in (False, True):
        pieces: list[tuple[int, Tensor]] = []
        rows = 0
        for index, tensor in enumerate(tensors):
            if (tensor.dtype == torch.float64) != double:
                continue
            for piece in plain(tensor).reshape(-1).split(CHUNK):
                needed = -(-len(piece) // ROW)
                if pieces and rows + needed > CHUNK // ROW:
                    yield join(pieces)
                    pieces, rows = [], 0
                pieces.append((index, piece))
                rows += needed
        if pieces:
            yield join(pieces)


def join(pieces: Sequence[tuple[int, Tensor]]) -> Chunk:
    """Joins flat pieces in rows; a single piece that fills its rows is not copied."""
    segments: list[Segment] = []
    flats: list[Tensor] = []
    start = 0
    padding = pieces[0][1].new_empty(0)
    for index, piece in pieces:
        needed = -(-len(piece) // ROW)
        segments.append(Segment(index, slice(start, start + needed), len(piece)))
        start += needed
        flats.append(widened(piece))
        if missing := needed * ROW - len(piece):
            if not len(padding):
                padding = flats[-1].new_full((ROW,), math.nan)
            flats.append(padding[:missing])
    joined = flats[0] if len(flats) == 1 else torch.cat(flats)
    return Chunk(joined.view(-1, ROW), segments)


def reduce_chunk(chunk: Chunk, statistic: Distribution) -> ChunkSums:
    """Reduces the rows of a chunk; waits for no device."""
    sums = row_sums(chunk.rows)
    counts = nonzero = None
    if not isinstance(statistic, MomentsOf):
        counts = bin_counts(chunk, fine=isinstance(statistic, CastsOf))
        nonzero = chunk.rows.count_nonzero(1)
    return ChunkSums(chunk.segments, sums, counts, nonzero, chunk.rows.dtype)


def row_sums(rows: Tensor) -> Tensor:
    """Returns the `(rows, COLUMNS)` sums of `(rows, ROW)` values, without NaN and infinities."""
    precise = (
        torch.float32 if rows.device.type == "mps" else torch.float64
    )  # MPS has no float64
    invalid = (rows - rows).count_nonzero(1)
    mean = rows.nan_to_num(0.0, 0.0, 0.0).sum(1, dtype=precise) / (ROW - invalid).clamp(
        min=1
    )
    deviations = (rows.to(precise) - mean[:, None]).nan_to_num(0.0, 0.0, 0.0)
    low = rows.nan_to_num(math.inf, math.inf, math.inf).amin(1)
    high = rows.nan_to_num(-math.inf, -math.inf, -math.inf).amax(1)
    norm = row_norm(deviations, may_overflow=rows.dtype == precise)
    columns = [mean, deviations.sum(1), norm, low, high, invalid]
    return torch.stack([column.to(precise) for column in columns], dim=1)


def row_norm(deviations: Tensor, may_overflow: bool) -> Tensor:
    """Returns the L2 norm of each row; divides by the largest value first where squares may leave the type's range."""
    if not may_overflow:
        return torch.linalg.vector_norm(deviations, dim=1)
    largest = deviations.abs().amax(1).clamp(min=torch.finfo(deviations.dtype).tiny)
    return torch.linalg.vector_norm(deviations / largest[:, None], dim=1) * largest


def bin_counts(chunk: Chunk, fine: bool = False) -> Tensor:
    """Returns counts of the values of each segment, `(segments, BINS)`, or `(segments, FINE_BINS)` of fine bins."""
    layout = LAYOUTS[chunk.rows.dtype]
    bits = chunk.rows.view(layout.integer)
    patterns = bits >> layout.dropped
    places = places_of_patterns(patterns, layout)
    size, around_zero = BINS, AROUND_ZERO
    if fine:
        places = places + reached_limits(bits, chunk.rows.dtype)
        size, around_zero = FINE_BINS, AROUND_ZERO_FINE
    bins = places * signs_of_patterns(patterns, layout) + around_zero
    invalid = (patterns & (layout.patterns - 1)) >= layout.infinity
    return count_by_segment(bins.masked_fill_(invalid, size).long(), chunk, size)


def count_by_segment(bins: Tensor, chunk: Chunk, size: int) -> Tensor:
    """Returns the `(segments, size)` counts of bin numbers; those of number `size` are left out."""
    number = len(chunk.segments)
    if number > 1:
        lengths = [segment.rows.stop - segment.rows.start for segment in chunk.segments]
        offsets = torch.from_numpy(np.repeat(np.arange(number) * (size + 1), lengths))
        # Not blocking, or the host would wait for the device.
        bins += offsets.to(bins.device, non_blocking=True)[:, None]
    bins = bins.view(-1)
    counts = torch.zeros(number * (size + 1), dtype=torch.int32, device=bins.device)
    # Not by `bincount`, which waits for the device to learn the largest bin.
    counts.scatter_add_(0, bins, counts.new_ones(()).expand(bins.shape))
    return counts.view(number, size + 1)[:, :size]


def pool_chunk(
    chunk: ChunkSums, copies: Sequence[Tensor]
) -> Iterator[tuple[int, Moments | Histogram | Casts]]:
    """Yields the number of each tensor and what was measured of it, or of a piece of it.

    Args:
        chunk: Reduced chunk.
        copies: Its `tensors()`, on the CPU.
    """
    sums, *others = (copy.numpy() for copy in copies)
    sums = sums.astype(np.float64)
    for place, segment in enumerate(chunk.segments):
        moments = pool_rows(sums[segment.rows], segment.size)
        if chunk.counts is None:
            yield segment.index, moments
            continue
        counts, nonzero = others
        places = (segment.rows.stop - segment.rows.start) * ROW
        zeros = places - int(nonzero[segment.rows].sum())
        if counts.shape[1] == BINS:
            histogram = Histogram.from_counts(moments, counts[place], zeros)
            yield segment.index, histogram
        else:
            casts = casts_of_counts(moments, counts[place], zeros, chunk.dtype)
            yield segment.index, casts


def pool_rows(sums: NDArray[np.float64], size: int) -> Moments:
    """Pools `(rows, COLUMNS)` sums of a tensor of `size` values.

    The padding of the last row counts as not finite there.
    """
    means, total, norm, low, high, invalid = sums.T
    counts = ROW - invalid
    count = int(counts.sum())
    nonfinite = size - count
    if not count:
        return Moments(nonfinite=nonfinite)
    low, high = low[counts > 0], high[counts > 0]
    lowest, highest = float(low.min()), float(high.max())
    if lowest == highest:  # no spread at all, whatever the sums were rounded to
        return Moments(count, lowest, 0.0, lowest, highest, nonfinite)
    offsets = total / np.maximum(counts, 1)
    means = means + offsets
    mean = float((means * (counts / count)).sum())
    with np.errstate(over="ignore", invalid="ignore"):  # float64 beyond 1e154
        within = np.maximum(norm * norm - total * offsets, 0.0)
        between = counts * (means - mean) ** 2
    return Moments(
        count, mean, float(within.sum() + between.sum()), lowest, highest, nonfinite
    )
