"""Tests of the reduction in rows, as on an accelerator: equal to NumPy, without a wait for the device."""

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from numpy_statistics import expect_histogram, expect_moments
from operations import WAITS, Operations
from torch import Tensor
from values import special_tensors, tensor_lists

from callbacks import Histogram
from callbacks.measure import device
from callbacks.measure.device import ROW, chunks_of, pool_chunk, reduce_chunk
from callbacks.measure.statistic import CastsOf, Distribution, HistogramOf, MomentsOf


def reduce_together(tensors: list[Tensor], statistic: Distribution) -> list[Any]:
    """Reduces tensors in chunks and pools the results of each tensor's pieces."""
    results: dict[int, Any] = {}
    for chunk in chunks_of(tensors):
        sums = reduce_chunk(chunk, statistic)
        for index, result in pool_chunk(sums, sums.tensors()):
            results[index] = results[index] + result if index in results else result
    return [results[index] for index in range(len(tensors))]


def expect_each(tensors: list[Tensor]) -> None:
    for result, moments, values in zip(
        reduce_together(tensors, HistogramOf()),
        reduce_together(tensors, MomentsOf()),
        tensors,
        strict=True,
    ):
        expect_histogram(result, values, extremes=1e-15)
        expect_moments(moments, values, extremes=1e-15)
        assert result.moments == moments


@settings(deadline=None, max_examples=50)
@given(tensors=tensor_lists())
def test_any_tensors(tensors: list[Tensor]) -> None:
    expect_each(tensors)


def test_special_tensors_beside_each_other() -> None:
    expect_each(list(special_tensors().values()))


@pytest.mark.parametrize("name", special_tensors())
def test_special_tensors_alone(name: str) -> None:
    expect_each([special_tensors()[name]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extremes_are_exact(dtype: torch.dtype) -> None:
    values = torch.tensor([1.0, 1e-20, -0.3, 1e-30], dtype=dtype)
    for chosen in (values, values[[0, 1]], values[[2, 3]]):
        (moments,) = reduce_together([chosen], MomentsOf())
        assert (moments.low, moments.high) == (chosen.min().item(), chosen.max().item())


@pytest.mark.parametrize("size", [1, ROW - 1, ROW, ROW + 1, 5 * ROW])
def test_sizes_around_a_row(size: int) -> None:
    expect_each([torch.randn(size), torch.randn(size, dtype=torch.float64)])


@settings(deadline=None, max_examples=25)
@given(tensors=tensor_lists(most=3))
def test_tensors_longer_than_a_chunk(tensors: list[Tensor]) -> None:
    """Chunks of two rows, so that most tensors begin in one and end in another."""
    long = [
        tensor.flatten().repeat(1 + 5 * ROW // tensor.numel()) for tensor in tensors
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "CHUNK", 2 * ROW)
        assert all(chunk.rows.shape[0] <= 2 for chunk in chunks_of(long))
        expect_each([*long, *tensors])


def test_chunks_are_bounded() -> None:
    tensors = [torch.zeros(3 * ROW + 1) for _ in range(5)] + [
        torch.zeros(2, dtype=torch.float64)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "CHUNK", 8 * ROW)
        chunks = list(chunks_of(tensors))
    assert [chunk.rows.shape for chunk in chunks] == [
        (8, ROW),
        (8, ROW),
        (4, ROW),
        (1, ROW),
    ]


def test_no_cancellation_far_from_zero() -> None:
    values = torch.randn(100_000, dtype=torch.float64).mul(0.01).add(1e4 + 4e-4).float()
    (moments,) = reduce_together([values], MomentsOf())
    assert moments.std == pytest.approx(values.double().std().item(), rel=1e-4)
    assert moments.mean == pytest.approx(values.double().mean().item(), abs=1e-5)


@pytest.mark.parametrize("size", [1e-42, 1e-30, 1e-22, 1.0, 1e25, 1e37])
@pytest.mark.parametrize("shift", [0, 7, -300])
@pytest.mark.parametrize("count", [1000, 10 * ROW + 5])
def test_squares_neither_overflow_nor_vanish(
    size: float, shift: float, count: int
) -> None:
    values = ((torch.randn(count) + shift) * size).clamp(-3e38, 3e38)
    (moments,) = reduce_together([values], MomentsOf())
    expect_moments(moments, values, extremes=1e-15)
    assert moments.std == pytest.approx(values.double().std().item(), rel=1e-4)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.7e-20, 1e30])
@pytest.mark.parametrize("count", [1, 3, 100_003])
def test_a_constant_has_no_spread_at_all(constant: float, count: int) -> None:
    (moments,) = reduce_together([torch.full((count,), constant)], MomentsOf())
    assert moments.mean == torch.tensor(constant).item()
    assert moments.squares == 0.0


def test_flushed_subnormal_numbers() -> None:
    torch.set_flush_denormal(True)
    try:
        (moments,) = reduce_together(
            [torch.tensor([1e-40, -1e-40, 3e-41])], MomentsOf()
        )
    finally:
        torch.set_flush_denormal(False)
    assert moments.count == 3
    assert abs(moments.mean) < 1e-39
    assert moments.std is not None
    assert moments.std < 1e-39


@pytest.mark.parametrize("statistic", [MomentsOf(), HistogramOf(), CastsOf()])
def test_waits_for_no_device(statistic: Distribution) -> None:
    tensors = [torch.randn(3000), torch.randn(50), torch.randn(7, dtype=torch.float64)]
    with Operations() as operations:
        for chunk in chunks_of(tensors):
            reduce_chunk(chunk, statistic)
    assert not WAITS & set(operations.names)
    meta = torch.empty(9, 9, device="meta")  # a device without numbers to read
    sums = reduce_chunk(next(chunks_of([meta])), statistic)
    assert len(sums.tensors()) == (1 if statistic is MomentsOf() else 3)


def test_more_tensors_need_no_more_kernels() -> None:
    def kernels_for(number: int) -> list[str]:
        tensors = [torch.zeros(10) for _ in range(number)]
        with Operations() as operations:
            for chunk in chunks_of(tensors):
                reduce_chunk(chunk, HistogramOf())
        return operations.kernels

    assert kernels_for(40) == kernels_for(20)


def test_casts_need_few_more_kernels_than_a_histogram() -> None:
    """The mask of the sign, the search of the limits, and an addition, for all tensors together."""

    def kernels_for(statistic: Distribution) -> Counter[str]:
        tensors = [torch.zeros(10) for _ in range(20)]
        with Operations() as operations:
            for chunk in chunks_of(tensors):
                reduce_chunk(chunk, statistic)
        return Counter(operations.kernels)

    more = kernels_for(CastsOf()) - kernels_for(HistogramOf())
    more.pop("_to_copy", None)  # of the limits, on the host
    assert more == {"bitwise_and": 1, "bucketize": 1, "add": 1}


def test_results_are_those_of_the_host() -> None:
    values = torch.tanh(torch.randn(5000) * 3)
    (result,) = reduce_together([values], HistogramOf())
    alone = Histogram.of(values)
    assert (result.bins.tolist(), result.counts.tolist(), result.zeros) == (
        alone.bins.tolist(),
        alone.counts.tolist(),
        alone.zeros,
    )
