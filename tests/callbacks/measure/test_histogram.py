"""Tests of `Histogram` against counts by comparison with every edge."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from numpy_statistics import expect_histogram
from torch import Tensor
from values import AWKWARD, any_tensor, float_dtypes, special_tensors

from callbacks import Histogram


@given(values=any_tensor())
def test_any_tensor(values: Tensor) -> None:
    expect_histogram(Histogram.of(values), values)


@pytest.mark.parametrize("name", special_tensors())
def test_special_tensors(name: str) -> None:
    values = special_tensors()[name]
    expect_histogram(Histogram.of(values), values)


@pytest.mark.parametrize("dtype", float_dtypes)
def test_large_tensors(dtype: torch.dtype) -> None:
    values = torch.cat(
        [
            torch.tanh(torch.randn(300_000) * 3),
            torch.randn(5_000) * 1e-6,
            torch.tensor(AWKWARD),
        ]
    )
    expect_histogram(Histogram.of(values.to(dtype).reshape(-1, 8)), values.to(dtype))


def test_resolves_the_last_hundredth_below_one() -> None:
    histogram = Histogram.of(torch.tensor([0.98, 0.991, 0.9925, 0.9999, 1.0]))
    assert histogram.right.tolist() == pytest.approx([0.984375, 0.9921875, 1.0, 1.0])
    assert histogram.counts.tolist() == [1, 1, 2, 1]


def test_counts_every_value() -> None:
    histogram = Histogram.of(torch.tensor(AWKWARD))
    assert histogram.zeros == 2
    assert (
        histogram.near_zero == 4
    )  # three around the subnormals, and 1e-20; 2**-48 has its bin
    assert histogram.too_large == 5
    assert histogram.nonfinite == 3
    assert int(histogram.counts.sum()) + histogram.nonfinite == len(AWKWARD)


def test_histogram_of_zeros() -> None:
    expect_histogram(Histogram.of_zeros(9), torch.zeros(9))


@given(first=any_tensor(), second=any_tensor())
def test_pooled_histograms_are_those_of_all_values(
    first: Tensor, second: Tensor
) -> None:
    pooled = Histogram.of(first) + Histogram.of(second)
    expect_histogram(
        pooled, torch.cat([first.double().flatten(), second.double().flatten()])
    )


class TestCountBetween:
    def test_values_on_the_outermost_limits_are_counted(self) -> None:
        histogram = Histogram.of(torch.tensor([-1.0, -1.0, 0.0, 1.0, 1.0, 1.0]))
        assert histogram.count_between(np.linspace(-1, 1, 5)).sum() == pytest.approx(6)

    def test_agrees_with_numpy_to_a_bin(self) -> None:
        values = torch.tanh(torch.randn(20_000))
        limits = np.linspace(-1, 1, 21)
        expected, _ = np.histogram(values.double().numpy(), limits)
        counts = Histogram.of(values).count_between(limits)
        assert counts.sum() == pytest.approx(20_000)
        assert np.abs(counts - expected).max() < 0.02 * expected.max()

    def test_values_outside_are_left_out(self) -> None:
        histogram = Histogram.of(torch.tensor([-5.0, 0.25, 0.75, 5.0]))
        assert histogram.count_between([0.0, 0.5, 1.0]).tolist() == [1, 1]


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_quantile(fraction: float) -> None:
    values = torch.randn(10_000)
    quantile = Histogram.of(values).quantile(fraction)
    assert quantile == pytest.approx(
        values.double().quantile(fraction).item(), abs=0.07
    )  # the widest bin there


def test_no_quantile_of_an_empty_tensor() -> None:
    assert math.isnan(Histogram.of(torch.empty(0)).quantile(0.5))
