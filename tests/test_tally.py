"""What is added in several calls is what is added at once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from values import any_tensor

from callbacks._histogram import AROUND_ZERO, Histogram
from callbacks._statistics import Moments
from callbacks._tally import HistogramTally, MomentTally


@given(st.lists(any_tensor(), min_size=1, max_size=4))
def test_calls_are_pooled(calls: list[Tensor]) -> None:
    tally = HistogramTally()
    for values in calls:
        tally.add(values)
    found = tally.value(tally.tensors())
    whole = Histogram.of(torch.cat([values.double().flatten() for values in calls]))
    assert found.bins.tolist() == whole.bins.tolist()
    assert found.counts.tolist() == whole.counts.tolist()
    assert (found.zeros, found.nonfinite, found.moments.count) == (whole.zeros, whole.nonfinite, whole.moments.count)
    largest = max(abs(whole.moments.low), abs(whole.moments.high)) if whole.moments.count else 0.0
    assert found.moments.mean == pytest.approx(whole.moments.mean, rel=1e-5, abs=1e-6 * largest)


def test_a_sparse_gradient_is_that_of_the_whole_table() -> None:
    table = torch.nn.Embedding(50, 4, sparse=True)
    table(torch.tensor([3, 7, 3])).square().sum().backward()  # row 3 twice: not coalesced
    gradient = table.weight.grad
    assert gradient is not None
    assert gradient.is_sparse
    for tally in (MomentTally(), HistogramTally()):
        tally.add(gradient)
        found = tally.value(tally.tensors())
        moments = found.moments if isinstance(found, Histogram) else found
        dense = gradient.to_dense().double()
        assert moments.count == 200
        assert moments.mean == pytest.approx(dense.mean().item())
        assert moments.std == pytest.approx(dense.std().item())
    assert isinstance(found, Histogram)
    assert found.zeros == 192 == int(found.counts[found.bins == AROUND_ZERO])


def test_keeps_one_set_of_bins_whatever_the_number_of_calls() -> None:
    tally = HistogramTally()
    for _ in range(5):
        tally.add(torch.randn(3))
    assert sum(tensor.numel() for tensor in tally.counts) < 10_000


def test_of_nothing_there_is_nothing_to_bring() -> None:
    assert MomentTally().tensors() == []
    assert HistogramTally().tensors() == []
    assert MomentTally().value([]) == Moments()
