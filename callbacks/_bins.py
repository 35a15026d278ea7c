"""Bins whose edges are known before the values are: they need no look at the range, and any two counts add up.

The sign, the exponent and the first bits of the mantissa of a floating point number, its pattern, are, read as an
integer, the number of its bin: values are shifted and counted, never compared with edges.
"""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ._statistics import widened

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
INTEGERS = {torch.float32: (np.int32, np.uint32), torch.float64: (np.int64, np.uint64)}


class PatternCounts:
    """Counts values in main memory by their patterns; NaN and infinities are left out.

    Args:
        dtype: Of the values, float32 or float64.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.signed, self.unsigned = INTEGERS[dtype]
        *_, exponent, _ = LAYOUTS[dtype]
        self.dropped = _dropped_bits(dtype)
        self.number = 2 * STEPS << exponent
        self.counts: np.ndarray | None = None
        self.zeros = 0

    def add(self, piece: Tensor) -> None:
        """Counts in a flat piece."""
        values = piece.numpy()
        patterns = values.view(self.unsigned) >> self.dropped
        counted = torch.bincount(torch.from_numpy(patterns.view(self.signed)), minlength=self.number).numpy()
        if counted[0] or counted[self.number // 2]:  # where zero is, and the smallest subnormal numbers
            self.zeros += values.size - int(np.count_nonzero(values != 0))  # of booleans it is several times as fast
        if self.counts is None:
            self.counts = counted
        else:
            self.counts += counted

    def bins(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns `(k,)` numbers of the bins that hold values, ascending, and `(k,)` how many each of them holds."""
        if self.counts is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        patterns = np.flatnonzero(self.counts != 0)
        held = np.bincount(_bin_of_pattern(self.number)[patterns], self.counts[patterns], BINS + 1)[:BINS]
        bins = np.flatnonzero(held != 0)
        return bins, held[bins].astype(np.int64)


@cache
def _bin_of_pattern(number: int) -> np.ndarray:
    """`(number,)` bins of the patterns, non-negative numbers first; `BINS`, which is none, of NaN and infinities."""
    exponents = number // 2 // STEPS
    bias = exponents // 2 - 1
    place = np.arange(number // 2) - (bias + FIRST) * STEPS + 1
    place = np.clip(place, 0, HALF + 1)
    finite = np.arange(number // 2) < (exponents - 1) * STEPS
    positive, negative = AROUND_ZERO + place, AROUND_ZERO - place
    return np.concatenate([np.where(finite, positive, BINS), np.where(finite, negative, BINS)])


def _dropped_bits(dtype: torch.dtype) -> int:
    """How many of the last bits of the mantissa do not tell one bin from another."""
    return LAYOUTS[dtype][1] - STEPS.bit_length() + 1


def count_bins(values: Tensor) -> Tensor:
    """Counts values on any device into `BINS` bins, and waits for none; NaN and infinities are left out.

    Args:
        values: Any shape and strides, any floating point type.

    Returns:
        `(BINS,)` counts, int64, on the device of the values.
    """
    flat = widened(values.detach().reshape(-1))
    integer, _, exponent, _ = LAYOUTS[flat.dtype]
    half = STEPS << exponent
    patterns = (flat.view(integer) >> _dropped_bits(flat.dtype)).add_(half)
    # Not by `bincount`, which would wait for the device, to learn the largest.
    counts = torch.zeros(2 * half, dtype=torch.int64, device=flat.device)
    counts.scatter_add_(0, patterns.long(), counts.new_ones(()).expand(patterns.shape))
    return _fold(counts, flat.dtype)


def _fold(patterns: Tensor, dtype: torch.dtype) -> Tensor:
    """Puts the bins in the order of their values, and together those beyond the first and the last octave.

    By slices: a table, as for what is in main memory, would have to be copied to the device.
    """
    *_, exponent, bias = LAYOUTS[dtype]
    by_octave = patterns.view(2, 1 << exponent, STEPS)  # negative numbers first, for their integers are negative
    finite = by_octave[:, :-1]  # the last exponent is that of NaN and infinities
    negative, positive = finite[:, bias + FIRST : bias + LAST].reshape(2, -1)
    too_low, too_high = finite[:, bias + LAST :].sum(dim=(1, 2))
    around_zero = finite[:, : bias + FIRST].sum()
    return torch.cat([too_low[None], negative.flip(0), around_zero[None], positive, too_high[None]])


def _edges() -> np.ndarray:
    """The `(BINS + 1,)` edges, float64: -inf, -65 536, ..., -2**-48, 2**-48, ..., 65 536, +inf."""
    octaves = 2.0 ** np.arange(FIRST, LAST)
    steps = 1 + np.arange(STEPS) / STEPS
    positive = np.append(octaves[:, None] * steps, [2.0**LAST, math.inf])
    return np.append(-positive[::-1], positive)


EDGES = _edges()
