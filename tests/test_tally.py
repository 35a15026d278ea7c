"""What is added in several calls is what is added at once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from values import any_tensor

from callbacks import _tally
from callbacks._bins import AROUND_ZERO
from callbacks._histogram import Histogram
from callbacks._statistics import PIECE, Moments, widened
from callbacks._tally import HistogramTally, MomentTally


@pytest.mark.parametrize("host", [True, False])
@given(st.lists(any_tensor(), min_size=1, max_size=4))
def test_calls_are_pooled(host: bool, calls: list[Tensor]) -> None:
    tally = HistogramTally()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tally, "on_host", lambda _: host)
        for values in calls:
            tally.add(values)
    found = tally.value(tally.tensors())
    whole = Histogram.of(torch.cat([values.double().flatten() for values in calls]))
    assert found.bins.tolist() == whole.bins.tolist()
    assert found.counts.tolist() == whole.counts.tolist()
    assert (found.zeros, found.nonfinite, found.moments.count) == (whole.zeros, whole.nonfinite, whole.moments.count)
    largest = max(abs(whole.moments.low), abs(whole.moments.high)) if whole.moments.count else 0.0
    assert found.moments.mean == pytest.approx(whole.moments.mean, rel=1e-5, abs=1e-6 * largest)


@pytest.mark.parametrize("host", [True, False])
@pytest.mark.parametrize("kind", [MomentTally, HistogramTally])
def test_a_sparse_gradient_is_that_of_the_whole_table(
    kind: type[MomentTally], host: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = torch.nn.Embedding(50, 4, sparse=True)
    table(torch.tensor([3, 7, 3])).square().sum().backward()  # row 3 twice: not coalesced
    gradient = table.weight.grad
    assert gradient is not None
    assert gradient.is_sparse
    monkeypatch.setattr(_tally, "on_host", lambda _: host)
    tally = kind()
    tally.add(gradient)
    found = tally.value(tally.tensors())
    moments = found.moments if isinstance(found, Histogram) else found
    dense = gradient.to_dense().double()
    assert moments.count == 200
    assert moments.mean == pytest.approx(dense.mean().item())
    assert moments.std == pytest.approx(dense.std().item())
    if isinstance(found, Histogram):
        assert found.zeros == 192 == found.counts[found.bins == AROUND_ZERO].item()


def test_keeps_one_set_of_bins_whatever_the_number_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tally, "on_host", lambda _: False)
    tally = HistogramTally()
    for _ in range(5):
        tally.add(torch.randn(3))
    assert sum(tensor.numel() for tensor in tally.counts) < 10_000


def test_of_nothing_there_is_nothing_to_bring() -> None:
    assert MomentTally().tensors() == []
    assert HistogramTally().tensors() == []
    assert MomentTally().value([]) is None


@pytest.mark.parametrize("host", [True, False])
@given(after=any_tensor())
def test_a_change_is_that_of_a_difference_in_double_precision(host: bool, after: Tensor) -> None:
    before = after * 0.9
    tally = MomentTally()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tally, "on_host", lambda _: host)
        tally.add_change(after, before)
    found, whole = tally.value(tally.tensors()), Moments.of(widened(after) - widened(before))
    assert (found.count, found.nonfinite, found.low, found.high) == (
        whole.count,
        whole.nonfinite,
        whole.low,
        whole.high,
    )
    assert found.mean == pytest.approx(whole.mean, rel=1e-5, abs=1e-6 * max(-whole.low, whole.high, 0))
    assert found.squares == pytest.approx(whole.squares, rel=1e-5, abs=1e-44)


def test_a_change_longer_than_a_piece() -> None:
    after, before = torch.randn(3 * PIECE + 7, dtype=torch.bfloat16), torch.randn(3 * PIECE + 7, dtype=torch.bfloat16)
    tally = MomentTally()
    tally.add_change(after, before)
    expected = after.double() - before.double()
    found = tally.value([])
    assert (found.count, found.low, found.high) == (len(after), expected.min(), expected.max())
    assert found.std == pytest.approx(float(expected.std()), rel=1e-5)


@pytest.mark.parametrize("host", [True, False])
@pytest.mark.parametrize("kind", [MomentTally, HistogramTally])
@pytest.mark.parametrize("dtype", [None, torch.float8_e4m3fn, torch.float8_e5m2])
def test_values_of_unusual_kinds(
    kind: type[MomentTally], host: bool, dtype: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eighths of precision, and, as `None`, a negation that is pending: the imaginary part of a conjugate."""
    monkeypatch.setattr(_tally, "on_host", lambda _: host)
    values = torch.randn(50, dtype=torch.complex64).conj().imag if dtype is None else torch.randn(50).to(dtype)
    tally = kind()
    tally.add(values)
    found = tally.value(tally.tensors())
    moments = found.moments if isinstance(found, Histogram) else found
    assert moments.mean == pytest.approx(float(values.double().mean()), abs=1e-6)
