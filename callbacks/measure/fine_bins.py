"""Fine bins: the bins of a histogram, cut at the limits of narrower formats, so that one count gives both.

Along magnitudes the number of the bin and the number of limits that are reached both grow, so that their sum numbers
the fine bins.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from .bins import AROUND_ZERO, BINS, HALF
from .casts import Casts
from .formats import FORMATS, Integers, limits_of
from .histogram import Counts, Histogram
from .moments import Moments

CUTS = 3 * len(FORMATS)
"""Number of limits."""

FINE_BINS = BINS + 2 * CUTS
AROUND_ZERO_FINE = AROUND_ZERO + CUTS
"""Number of the fine bin of zero."""


def reached_limits(bits: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns the number of limits that the magnitude of each value reaches; waits for no device.

    Args:
        bits: Any shape; float32 or float64 values as integers.
        dtype: Type of the values.
    """
    ascending = torch.from_numpy(np.sort(limits_of(dtype).patterns)).to(bits.dtype)
    return torch.bucketize(
        bits & torch.iinfo(bits.dtype).max,
        # Not blocking, or the host would wait for the device.
        ascending.to(bits.device, non_blocking=True),
        out_int32=bits.dtype == torch.int32,
        right=True,
    )


@dataclass(frozen=True, eq=False)
class FineLayout:
    """Meaning of the fine bins of values of one type.

    Attributes:
        bins: `(FINE_BINS,)` number of the bin that each fine bin is in.
        reached: `(FINE_BINS, k)` 1 where all values of a fine bin reach a limit, else 0.
    """

    bins: Integers
    reached: Integers


@cache
def fine_layout(dtype: torch.dtype) -> FineLayout:
    """Returns the meaning of the fine bins of float32 or float64 values."""
    limits = limits_of(dtype)
    places = np.arange(HALF + 2)
    cut_before = limits.places[:, None] < places
    first = places + cut_before.sum(0)
    distances = np.abs(np.arange(FINE_BINS) - AROUND_ZERO_FINE)
    place = np.searchsorted(first, distances, side="right") - 1
    sign = np.sign(np.arange(FINE_BINS) - AROUND_ZERO_FINE)
    rank = np.argsort(np.argsort(limits.patterns))
    reached = (distances - place)[:, None] > rank
    return FineLayout(AROUND_ZERO + sign * place, reached.astype(np.int64))


def casts_of_counts(
    moments: Moments, counts: Counts, zeros: int, dtype: torch.dtype
) -> Casts:
    """Returns the casts of a tensor by `(FINE_BINS,)` counts."""
    layout = fine_layout(dtype)
    filled = np.flatnonzero(counts)
    in_bins = np.zeros(BINS, dtype=np.int64)
    np.add.at(in_bins, layout.bins[filled], counts[filled])
    histogram = Histogram.from_counts(moments, in_bins, zeros)
    return Casts(histogram, counts[filled] @ layout.reached[filled])
