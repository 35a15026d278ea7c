"""Tests of the counts that stay on a device until the end of a step; `test_saturation` compares their numbers."""

import torch
from operations import WAITS, Operations

from callbacks.measure.device_saturation import DeviceSaturation, count_on_device
from callbacks.measure.saturation import FlatRegion


def count(values: torch.Tensor, keep_map: bool = False) -> DeviceSaturation:
    return count_on_device(values, FlatRegion(lambda h: h > 0.99), keep_map)


def test_calls_of_one_width_are_pooled_on_the_device() -> None:
    pooled = count(torch.ones(2, 3), keep_map=True)
    map_of_first = pooled.map
    pooled.add(count(torch.tensor([[1.0, 0.0, float("nan")]])))
    result = pooled.value(pooled.tensors())
    assert (result.saturated, result.count, result.nonfinite) == (7, 8, 1)
    assert result.dead[3].tolist() == [True, False, False]
    assert pooled.map is map_of_first
    assert len(pooled.tensors()) == 3


def test_waits_for_no_device() -> None:
    with Operations() as operations:
        count(torch.randn(20, 30), keep_map=True).add(count(torch.randn(4, 30)))
    assert not WAITS & set(operations.names)
    meta = count(
        torch.empty(9, 8, device="meta"), keep_map=True
    )  # a device without numbers to read
    assert [tuple(tensor.shape) for tensor in meta.tensors()] == [(2,), (8,), (9, 8)]
