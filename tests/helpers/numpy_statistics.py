"""Moments and bin counts in plain NumPy, which share nothing with the code under test."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from callbacks import Histogram
from callbacks.measure.bins import AROUND_ZERO, BINS
from callbacks.measure.moments import Moments

MAGNITUDES = np.array(
    [
        math.ldexp(1 + step / 64, octave)
        for octave in range(-48, 16)
        for step in range(64)
    ]
    + [2.0**16]
)
"""Edges of the bins of positive numbers: 64 bins of equal width in each octave from 2**-48 to 2**16."""


def finite_values(values: Tensor) -> np.ndarray:
    flat = values.detach().to(torch.float64).resolve_neg().numpy().ravel()
    return flat[np.isfinite(flat)]


def expect_moments(moments: Moments, values: Tensor, extremes: float = 0.0) -> None:
    """Compares moments with NumPy's in long double; extremes to a fraction of the largest value."""
    finite = finite_values(values).astype(np.longdouble)
    assert moments.count == finite.size
    assert moments.nonfinite == values.numel() - finite.size
    if not finite.size:
        assert (moments.mean, moments.std) == (0.0, None)
        return
    largest = float(np.abs(finite).max())
    assert moments.low == pytest.approx(
        float(finite.min()), rel=0, abs=extremes * largest
    )
    assert moments.high == pytest.approx(
        float(finite.max()), rel=0, abs=extremes * largest
    )
    assert moments.mean == pytest.approx(
        float(finite.mean()), rel=1e-5, abs=2e-7 * largest
    )
    if finite.size > 1:
        spread = float(finite.std(ddof=1))
        assert moments.std == pytest.approx(spread, rel=1e-5, abs=1e-6 * largest)
    assert moments.norm == pytest.approx(
        float(np.sqrt((finite**2).sum())), rel=1e-5, abs=1e-44
    )


def bin_counts(values: Tensor) -> np.ndarray:
    """Counts by comparison with the edges: bins of magnitude [a, b), mirrored for negative values."""
    finite = finite_values(values)
    place = np.searchsorted(MAGNITUDES, np.abs(finite), side="right")
    return np.bincount(
        AROUND_ZERO + np.where(finite < 0, -place, place), minlength=BINS
    )


def all_bins(histogram: Histogram) -> np.ndarray:
    """Returns the `(BINS,)` counts of a histogram, also of its empty bins."""
    counts = np.zeros(BINS, dtype=np.int64)
    counts[histogram.bins] = histogram.counts
    return counts


def expect_histogram(
    histogram: Histogram, values: Tensor, extremes: float = 0.0
) -> None:
    """Compares a histogram with NumPy's moments and counts by comparison."""
    assert all_bins(histogram).tolist() == bin_counts(values).tolist()
    assert (histogram.counts > 0).all()
    assert (np.diff(histogram.bins) > 0).all()
    assert histogram.zeros == np.count_nonzero(finite_values(values) == 0)
    expect_moments(histogram.moments, values, extremes)
