"""Tests of the joined measurement of small CPU tensors: equal to measuring each alone, and to NumPy."""

import pytest
import torch
from hypothesis import given
from numpy_statistics import expect_histogram, expect_moments
from torch import Tensor
from values import special_tensors, tensor_lists

from callbacks import Histogram
from callbacks.measure import host
from callbacks.measure.host import measure_together
from callbacks.measure.moments import Moments
from callbacks.measure.statistic import CastsOf, Distribution, HistogramOf, MomentsOf


def expect_each(tensors: list[Tensor]) -> None:
    """Checks the histogram and the moments of each of the tensors."""
    histograms = measure_together(tensors, HistogramOf())
    moments = measure_together(tensors, MomentsOf())
    for histogram, without_histogram, values in zip(
        histograms, moments, tensors, strict=True
    ):
        assert isinstance(histogram, Histogram)
        assert isinstance(without_histogram, Moments)
        expect_histogram(histogram, values)
        expect_moments(without_histogram, values)
        assert histogram.moments == without_histogram
        alone = Histogram.of(values)
        assert (histogram.zeros, histogram.nonfinite) == (alone.zeros, alone.nonfinite)
        assert histogram.counts.dtype.kind == alone.counts.dtype.kind == "i"


@given(tensors=tensor_lists())
def test_any_tensors(tensors: list[Tensor]) -> None:
    expect_each(tensors)


def test_special_tensors_beside_each_other() -> None:
    expect_each(list(special_tensors().values()))


def test_tensors_that_are_large_or_small() -> None:
    sizes = [
        3,
        host.SMALL,
        host.SMALL + 1,
        200_000,
        1,
        host.SMALL - 1,
        host.SMALL,
        host.SMALL,
        host.SMALL,
    ]
    expect_each([torch.randn(size) for size in sizes])


def test_more_tensors_than_are_measured_together() -> None:
    expect_each(
        [torch.randn(index % 7 + 1) for index in range(2 * host.TENSORS_TOGETHER + 5)]
    )


def test_both_precisions_in_turn() -> None:
    expect_each(
        [
            torch.randn(
                5, dtype=[torch.float64, torch.float32, torch.float16][index % 3]
            )
            for index in range(9)
        ]
    )


@pytest.mark.parametrize("statistic", [MomentsOf(), HistogramOf(), CastsOf()])
def test_small_tensors_are_joined(
    statistic: Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten tensors of one type in one array, a large one alone."""
    joined: list[int] = []
    original = host.JoinedTensors.__init__

    def counted(self: host.JoinedTensors, tensors: list[Tensor]) -> None:
        joined.append(len(tensors))
        original(self, tensors)

    monkeypatch.setattr(host.JoinedTensors, "__init__", counted)
    measure_together(
        [torch.randn(20), torch.randn(100_000), *(torch.randn(3) for _ in range(9))],
        statistic,
    )
    assert joined == [10]


def test_leaves_the_tensors_unchanged() -> None:
    tensors = [torch.randn(5), torch.randn(7)]
    copies = [tensor.clone() for tensor in tensors]
    measure_together(tensors, HistogramOf())
    assert all(
        torch.equal(tensor, copy) for tensor, copy in zip(tensors, copies, strict=True)
    )


def test_of_no_tensors() -> None:
    assert measure_together([], HistogramOf()) == []
