"""Tests of the one copy that brings all numbers from a device to the CPU."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from values import any_tensor

from callbacks.measure import placement
from callbacks.measure.placement import (
    copy_to_host,
    is_readable,
    pack,
    simulated_device,
    unpack,
)


def expect_same(before: Tensor, after: Tensor) -> None:
    assert (before.dtype, before.shape) == (after.dtype, after.shape)
    assert torch.equal(torch.nan_to_num(before), torch.nan_to_num(after))


@given(st.lists(any_tensor(), min_size=1, max_size=5))
def test_unpack_restores_what_was_packed(tensors: list[Tensor]) -> None:
    tensors += [torch.tensor(2**60 + 1), torch.tensor([True, False, True])]
    packed = pack(tensors)
    assert packed.dtype == torch.uint8
    for before, after in zip(tensors, unpack(packed, tensors), strict=True):
        expect_same(before, after)


def test_one_transfer_for_all_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(
        placement, "transfer", lambda packed: sizes.append(packed.numel()) or packed
    )
    tensors = [
        torch.randn(5),
        torch.tensor(3),
        torch.ones(3, dtype=torch.bool),
        torch.randn(2, 3).double().t(),
    ]
    with simulated_device():
        copies = copy_to_host(tensors)
    assert sizes == [24 + 8 + 8 + 48]
    for before, after in zip(tensors, copies, strict=True):
        expect_same(before, after)


def test_nothing_is_copied_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "transfer", None)
    tensors = [torch.randn(3), torch.ones(2, dtype=torch.int64)]
    assert all(
        before is after
        for before, after in zip(tensors, copy_to_host(tensors), strict=True)
    )
    assert copy_to_host([]) == []


def test_readable_are_tensors_of_the_cpu() -> None:
    assert is_readable(torch.ones(1))
    assert not is_readable(torch.ones(1, device="meta"))
    with simulated_device():
        assert not is_readable(torch.ones(1))
    assert is_readable(torch.ones(1))


def test_simulation_ends_with_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), simulated_device():
        raise ZeroDivisionError
    assert is_readable(torch.ones(1))


def test_inside_transforms() -> None:
    readable: list[bool] = []

    def observed(x: Tensor) -> Tensor:
        readable.append(is_readable(x))
        return x.sum()

    torch.func.grad(observed)(torch.ones(3))
    assert readable == [False]
    with pytest.raises(TypeError, match=r"inside torch\.func\.vmap"):
        torch.func.vmap(observed)(torch.ones(2, 3))
    assert is_readable(torch.ones(1))
