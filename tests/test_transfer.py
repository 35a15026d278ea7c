"""The one copy from the device loses nothing."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from values import any_tensor

from callbacks import _tally, _transfer
from callbacks._tally import HistogramTally
from callbacks._transfer import fetch, pack, to_host, unpack


def same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))


@given(st.lists(any_tensor(), min_size=1, max_size=5))
def test_what_is_packed_is_unpacked(tensors: list[Tensor]) -> None:
    tensors += [torch.tensor(2**60 + 1), torch.tensor([True, False, True])]
    for before, after in zip(tensors, unpack(pack(tensors), tensors), strict=True):
        assert before.shape == after.shape
        assert same(before, after)


def test_one_copy_however_many_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (_tally, _transfer):
        monkeypatch.setattr(module, "on_host", lambda _: False)
    packed: list[int] = []
    monkeypatch.setattr(_transfer, "pack", lambda tensors: packed.append(len(tensors)) or pack(tensors))
    tallies = {name: HistogramTally() for name in "abc"}
    for tally in tallies.values():
        tally.add(torch.randn(5))
        tally.add(torch.randn(5))
    values = fetch(tallies)
    assert packed == [3 * 6]
    assert [values[name].moments.count for name in "abc"] == [10, 10, 10]


def test_on_the_host_nothing_is_copied() -> None:
    tensors = [torch.randn(3), torch.ones(2, dtype=torch.int64)]
    assert all(one is other for one, other in zip(to_host(tensors), tensors, strict=True))


def test_what_measured_nothing_is_left_out() -> None:
    assert fetch({"a": HistogramTally()}) == {}
