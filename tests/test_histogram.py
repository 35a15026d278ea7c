"""Histograms beside a slow twin that compares every value with every edge."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor
from values import AWKWARD, any_tensor, float_dtypes

from callbacks._bins import AROUND_ZERO, BINS, EDGES, count_bins
from callbacks._histogram import Histogram

Count = Callable[[Tensor], Tensor]


def in_main_memory(values: Tensor) -> Tensor:
    """What is done piece by piece where values can be read without waiting."""
    found, counts = Histogram.of(values), torch.zeros(BINS, dtype=torch.int64)
    counts[torch.from_numpy(found.bins)] = torch.from_numpy(found.counts)
    return counts


BOTH = pytest.mark.parametrize("count", [in_main_memory, count_bins])


def edges_by_hand() -> Iterator[float]:
    """64 bins of equal width in each octave from 2**-48 to 2**16."""
    for octave in range(-48, 16):
        for step in range(64):
            yield math.ldexp(1 + step / 64, octave)
    yield 2.0**16


def twin(values: Tensor) -> np.ndarray:
    """Bins by comparison: those of magnitude, [a, b), mirrored for negative values."""
    edges = np.array(list(edges_by_hand()))
    flat = values.detach().to(torch.float64).numpy().ravel()
    counts = np.zeros(BINS, dtype=np.int64)
    for value in flat[np.isfinite(flat)]:
        place = int(np.searchsorted(edges, abs(value), side="right"))
        counts[AROUND_ZERO + (-place if value < 0 else place)] += 1
    return counts


@BOTH
@given(values=any_tensor())
def test_any_tensor(count: Count, values: Tensor) -> None:
    assert count(values).numpy().tolist() == twin(values).tolist()


@BOTH
@pytest.mark.parametrize("dtype", float_dtypes)
def test_large_tensors(count: Count, dtype: torch.dtype) -> None:
    values = torch.cat([torch.tanh(torch.randn(300_000) * 3), torch.randn(5_000) * 1e-6, torch.tensor(AWKWARD)])
    values = values.to(dtype).reshape(-1, 8)
    flat = np.abs(finite := values.double().numpy()[np.isfinite(values.double().numpy())])
    place = np.searchsorted(np.array(list(edges_by_hand())), flat, side="right") * np.where(finite < 0, -1, 1)
    expected = np.bincount(place + AROUND_ZERO, minlength=BINS)
    assert count(values).tolist() == expected.tolist()


def test_edges_are_those_that_are_told() -> None:
    assert EDGES[AROUND_ZERO + 1 : -1].tolist() == list(edges_by_hand())
    assert np.array_equal(EDGES, -EDGES[::-1])
    assert len(EDGES) == BINS + 1


def test_resolves_the_last_hundredth_below_one() -> None:
    values = torch.tensor([0.98, 0.991, 0.9925, 0.9999, 1.0])
    found = Histogram.of(values)
    assert found.right.tolist() == pytest.approx([0.984375, 0.9921875, 1.0, 1.0])
    assert found.counts.tolist() == [1, 1, 2, 1]


def test_keeps_every_value() -> None:
    found = Histogram.of(torch.tensor(AWKWARD))
    assert found.zeros == 2
    assert found.near_zero == 4  # three around the subnormals, and 1e-20; 2**-48 has its bin
    assert found.too_large == 5
    assert found.nonfinite == 3
    assert int(found.counts.sum()) + found.nonfinite == len(AWKWARD)


def test_nothing_waits_for_an_accelerator() -> None:
    assert count_bins(torch.empty(9, 9, device="meta")).shape == (BINS,)  # a device that has no numbers to read


@given(one=any_tensor(), other=any_tensor())
def test_pooled_histograms_are_those_of_all(one: Tensor, other: Tensor) -> None:
    pooled = Histogram.of(one) + Histogram.of(other)
    whole = Histogram.of(torch.cat([one.double().flatten(), other.double().flatten()]))
    assert pooled.bins.tolist() == whole.bins.tolist()
    assert pooled.counts.tolist() == whole.counts.tolist()
    assert (pooled.zeros, pooled.nonfinite) == (whole.zeros, whole.nonfinite)


class TestCountBetween:
    def test_values_on_the_outermost_limits_are_counted(self) -> None:
        found = Histogram.of(torch.tensor([-1.0, -1.0, 0.0, 1.0, 1.0, 1.0]))
        assert found.count_between(np.linspace(-1, 1, 5)).sum() == pytest.approx(6)

    def test_agrees_with_numpy_to_a_bin(self) -> None:
        values = torch.tanh(torch.randn(20_000))
        limits = np.linspace(-1, 1, 21)
        expected, _ = np.histogram(values.double().numpy(), limits)
        found = Histogram.of(values).count_between(limits)
        assert found.sum() == pytest.approx(20_000)
        assert np.abs(found - expected).max() < 0.02 * expected.max()

    def test_values_outside_are_left_out(self) -> None:
        found = Histogram.of(torch.tensor([-5.0, 0.25, 0.75, 5.0]))
        assert found.count_between([0.0, 0.5, 1.0]).tolist() == [1, 1]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_quantile(share: float) -> None:
    values = torch.randn(10_000)
    found = Histogram.of(values).quantile(share)
    assert found == pytest.approx(values.double().quantile(share).item(), abs=0.07)  # the widest bin there


def test_quantile_of_nothing() -> None:
    assert math.isnan(Histogram.of(torch.empty(0)).quantile(0.5))
