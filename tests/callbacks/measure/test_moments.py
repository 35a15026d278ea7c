"""Tests of `Moments` against NumPy in long double."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy_statistics import expect_moments
from torch import Tensor
from values import any_tensor, float_dtypes, special_tensors

from callbacks.measure.moments import Moments, log10_ratio
from callbacks.measure.pieces import PIECE


@given(values=any_tensor())
def test_any_tensor(values: Tensor) -> None:
    expect_moments(Moments.of(values), values)


@pytest.mark.parametrize("name", special_tensors())
def test_special_tensors(name: str) -> None:
    values = special_tensors()[name]
    expect_moments(Moments.of(values), values)


@pytest.mark.parametrize("dtype", float_dtypes)
def test_large_tensors(dtype: torch.dtype) -> None:
    values = (torch.randn(700, 1001) * 3 + 5).to(dtype)
    expect_moments(Moments.of(values), values)
    expect_moments(Moments.of(values.t()[::3]), values.t()[::3])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_nonfinite_value_in_a_large_tensor(value: float) -> None:
    values = torch.randn(3 * PIECE)
    values[PIECE + 5] = value
    expect_moments(Moments.of(values), values)


def test_no_cancellation_far_from_zero() -> None:
    """The mean of squares less the square of the mean would leave nothing here: 1e4**2 has no digits for 0.01."""
    values = torch.randn(100_000, dtype=torch.float64).mul(0.01).add(1e4 + 4e-4).float()
    moments = Moments.of(values)
    assert moments.std == pytest.approx(values.double().std().item(), rel=1e-4)
    assert moments.mean == pytest.approx(
        values.double().mean().item(), abs=1e-5
    )  # float32 ends at 1e-3 there


@pytest.mark.parametrize("size", [1e-42, 1e-30, 1e-22, 1.0, 1e25, 1e37])
@pytest.mark.parametrize("shift", [0, 7, -300])
@pytest.mark.parametrize("count", [1000, 2 * PIECE + 5])
def test_squares_neither_overflow_nor_vanish(
    size: float, shift: float, count: int
) -> None:
    values = ((torch.randn(count) + shift) * size).clamp(-3e38, 3e38)
    expect_moments(Moments.of(values), values)
    assert Moments.of(values).std == pytest.approx(
        values.double().std().item(), rel=1e-4
    )


def test_flushed_subnormal_numbers() -> None:
    values = torch.tensor([1e-40, -1e-40, 3e-41])
    torch.set_flush_denormal(True)
    try:
        moments = Moments.of(values)
    finally:
        torch.set_flush_denormal(False)
    assert moments.count == 3
    assert abs(moments.mean) < 1e-39
    assert moments.std is not None
    assert moments.std < 1e-39


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.7e-20, 1e30])
@pytest.mark.parametrize("count", [1, 3, 100_003])
def test_a_constant_has_no_spread_at_all(constant: float, count: int) -> None:
    moments = Moments.of(torch.full((count,), constant))
    assert moments.mean == torch.tensor(constant).item()
    assert moments.squares == 0.0


FLOATS = st.lists(st.floats(-1e6, 1e6, width=32), min_size=0, max_size=40)


@given(first=FLOATS, second=FLOATS)
def test_pooled_moments_are_those_of_all_values(
    first: list[float], second: list[float]
) -> None:
    pooled = Moments.of(torch.tensor(first)) + Moments.of(torch.tensor(second))
    expect_moments(pooled, torch.tensor(first + second))


def test_pooling_counts_the_distance_of_the_means() -> None:
    pooled = Moments.of(torch.zeros(50)) + Moments.of(torch.ones(50))
    assert pooled.std == pytest.approx(
        torch.tensor([0.0] * 50 + [1.0] * 50).double().std().item()
    )


def test_moments_of_no_values_change_nothing() -> None:
    some = Moments.of(torch.tensor([1.0, 5.0, math.nan]))
    assert some + Moments() == some == Moments() + some


def test_leaves_values_and_graph_unchanged() -> None:
    values = torch.randn(20, requires_grad=True)
    before = values.detach().clone()
    assert Moments.of(values).count == 20
    assert torch.equal(values, before)
    assert values.grad_fn is None


@pytest.mark.parametrize(
    ("values", "magnitude"),
    [([1.0, -3.0], 3.0), ([2.0], 2.0), ([], 0.0), ([math.nan], 0.0)],
)
def test_magnitude(values: list[float], magnitude: float) -> None:
    assert Moments.of(torch.tensor(values)).magnitude == magnitude


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_no_std_where_squares_leave_the_range_of_float64(size: float) -> None:
    values = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64) * size
    moments = Moments.of(values)
    assert moments.std is None
    assert (moments.low, moments.high) == (-3 * size, 2 * size)


@pytest.mark.parametrize(
    ("change", "after", "expected"),
    [
        ([0.001, -0.001], [1.0, -1.0], -3.0),
        ([0.0, 0.0], [1.0, -1.0], None),
        ([1.0, -1.0], [2.0, 2.0], None),
        ([1.0], [2.0], None),
        ([], [], None),
        ([1e200, -1e200], [1e200, -2e200], None),
        ([1e-3, -1e-3], [1e200, -1e200], None),
    ],
)
def test_log10_ratio(
    change: list[float], after: list[float], expected: float | None
) -> None:
    both = (
        Moments.of(torch.tensor(values, dtype=torch.float64))
        for values in (change, after)
    )
    assert log10_ratio(*both) == (
        None if expected is None else pytest.approx(expected, abs=1e-6)
    )
