"""Moments beside NumPy's in double precision, by both ways of taking them."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from values import any_tensor, float_dtypes

from callbacks._statistics import PIECE, Moments, log10_ratio, sum_moments

Measure = Callable[[Tensor], Moments]


def on_an_accelerator(values: Tensor) -> Moments:
    """What is done where a look at a number would wait for a device."""
    return sum_moments(values).value()


BOTH = pytest.mark.parametrize("measure", [Moments.of, on_an_accelerator])


def expect_twin(found: Moments, values: Tensor) -> None:
    """Compares with plain NumPy, in long double: nothing is shared with the code under test."""
    flat = values.detach().to(torch.float64).numpy().ravel().astype(np.longdouble)
    finite = flat[np.isfinite(flat)]
    assert found.nonfinite == flat.size - finite.size
    assert found.count == finite.size
    if not finite.size:
        assert (found.mean, found.std) == (0.0, None)
        return
    assert (found.low, found.high) == (finite.min(), finite.max())
    largest = float(np.abs(finite).max())
    assert found.mean == pytest.approx(float(finite.mean()), rel=1e-5, abs=2e-7 * largest)
    if finite.size > 1:
        spread = float(finite.std(ddof=1))
        assert found.std == pytest.approx(spread, rel=1e-5, abs=1e-6 * largest)
    assert found.norm == pytest.approx(float(np.sqrt((finite**2).sum())), rel=1e-5, abs=1e-44)


@BOTH
@given(values=any_tensor())
def test_any_tensor(measure: Measure, values: Tensor) -> None:
    expect_twin(measure(values), values)


@BOTH
@pytest.mark.parametrize("dtype", float_dtypes)
def test_large_tensors(measure: Measure, dtype: torch.dtype) -> None:
    values = (torch.randn(700, 1001) * 3 + 5).to(dtype)
    expect_twin(measure(values), values)
    expect_twin(measure(values.t()[::3]), values.t()[::3])


@BOTH
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_that_is_not_finite_in_a_large_tensor(measure: Measure, value: float) -> None:
    values = torch.randn(3 * PIECE)
    values[PIECE + 5] = value
    expect_twin(measure(values), values)


@BOTH
def test_no_cancellation_far_from_zero(measure: Measure) -> None:
    """The mean of squares less the square of the mean would leave nothing here: 1e4**2 has no digits for 0.01."""
    values = torch.randn(100_000, dtype=torch.float64).mul(0.01).add(1e4 + 4e-4).float()
    found = measure(values)
    assert found.std == pytest.approx(values.double().std().item(), rel=1e-4)
    assert found.mean == pytest.approx(values.double().mean().item(), abs=1e-5)  # single precision ends at 1e-3 there


@BOTH
@pytest.mark.parametrize("size", [1e-42, 1e-30, 1e-22, 1.0, 1e25, 1e37])
@pytest.mark.parametrize("shift", [0, 7, -300])
@pytest.mark.parametrize("count", [1000, 2 * PIECE + 5])
def test_squares_neither_overflow_nor_vanish(measure: Measure, size: float, shift: float, count: int) -> None:
    values = ((torch.randn(count) + shift) * size).clamp(-3e38, 3e38)
    expect_twin(measure(values), values)
    assert measure(values).std == pytest.approx(values.double().std().item(), rel=1e-4)


@BOTH
def test_where_the_processor_takes_subnormal_numbers_for_zero(measure: Measure) -> None:
    values = torch.tensor([1e-40, -1e-40, 3e-41])
    torch.set_flush_denormal(True)
    try:
        found = measure(values)
    finally:
        torch.set_flush_denormal(False)
    assert found.count == 3
    assert abs(found.mean) < 1e-39
    assert found.std is not None
    assert found.std < 1e-39


@BOTH
@pytest.mark.parametrize("constant", [0.0, 0.1, -3.7e-20, 1e30])
@pytest.mark.parametrize("count", [1, 3, 100_003])
def test_a_constant_has_no_spread_at_all(measure: Measure, constant: float, count: int) -> None:
    found = measure(torch.full((count,), constant))
    assert found.mean == torch.tensor(constant).item()
    assert found.squares == 0.0


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=0, max_size=40),
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=0, max_size=40),
)
def test_pooled_moments_are_those_of_all(one: list[float], other: list[float]) -> None:
    pooled = Moments.of(torch.tensor(one)) + Moments.of(torch.tensor(other))
    expect_twin(pooled, torch.tensor(one + other))


def test_pooling_counts_the_distance_of_the_means() -> None:
    pooled = Moments.of(torch.zeros(50)) + Moments.of(torch.ones(50))
    assert pooled.std == pytest.approx(torch.tensor([0.0] * 50 + [1.0] * 50).double().std().item())


def test_reads_nothing_from_an_accelerator_before_it_is_asked() -> None:
    meta = sum_moments(torch.empty(7, 3, device="meta"))  # a device that has no numbers to read
    assert meta.sums.shape == (6,)


def test_leaves_values_and_graph_alone() -> None:
    values = torch.randn(20, requires_grad=True)
    before = values.detach().clone()
    assert Moments.of(values).count == 20
    assert torch.equal(values, before)
    assert values.grad_fn is None


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
def test_log10_ratio(change: list[float], after: list[float], expected: float | None) -> None:
    both = (Moments.of(torch.tensor(values, dtype=torch.float64)) for values in (change, after))
    found = log10_ratio(*both)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-6))


def test_moments_of_nothing_change_nothing() -> None:
    some = Moments.of(torch.tensor([1.0, 5.0, math.nan]))
    assert some + Moments() == some == Moments() + some
