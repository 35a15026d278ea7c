"""Tests of the counts of saturated values against plain comparisons, on the CPU and as on an accelerator."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor
from values import any_tensor

from callbacks.measure.device_saturation import count_on_device
from callbacks.measure.pieces import widened
from callbacks.measure.saturation import (
    MAP_SHAPE,
    WHITE,
    FlatRegion,
    Saturation,
    count_saturated,
    units_last,
)

Count = Callable[..., Saturation]


def is_saturated(h: Tensor) -> Tensor:
    return widened(h).abs() > 0.99


REGION = FlatRegion(is_saturated, off="zeros")


def on_cpu(
    values: Tensor, unit_dim: int | None = None, keep_map: bool = False
) -> Saturation:
    return count_saturated(units_last(values, unit_dim), REGION, keep_map)


def on_device(
    values: Tensor, unit_dim: int | None = None, keep_map: bool = False
) -> Saturation:
    counts = count_on_device(units_last(values, unit_dim), REGION, keep_map)
    return counts.value(counts.tensors())


BOTH = pytest.mark.parametrize("count", [on_cpu, on_device])


@BOTH
@given(values=any_tensor().filter(lambda tensor: tensor.numel() > 0))
def test_fraction_is_of_the_finite_values(count: Count, values: Tensor) -> None:
    flat = values.double().flatten().tolist()
    finite = [x for x in flat if math.isfinite(x)]
    saturated = sum(
        bool(torch.tensor(x, dtype=values.dtype).abs() > 0.99) for x in finite
    )
    result = count(values)
    assert (result.count, result.nonfinite) == (len(finite), len(flat) - len(finite))
    if values.dtype in (torch.float32, torch.float64):
        assert result.saturated == saturated
    assert result.fraction == (result.saturated / len(finite) if finite else None)


@BOTH
def test_dead_units_are_saturated_on_every_example(count: Count) -> None:
    h = torch.tensor(
        [[1.0, 1.0, 0.2, math.nan], [-1.0, 0.0, 0.1, 1.0], [0.999, 1.0, 1.0, 1.0]]
    )
    result = count(h)
    assert result.dead[4].tolist() == [True, False, False, False]
    assert (result.dead_units, result.dead_count, result.units) == (0.25, 1, 4)
    assert result.fraction == pytest.approx(8 / 11)


@BOTH
def test_dead_units_are_those_of_all_examples_of_a_step(count: Count) -> None:
    result = count(torch.tensor([[1.0, 1.0, 0.0]])) + count(
        torch.tensor([[1.0, 0.0, 1.0]])
    )
    assert result.dead_units == pytest.approx(1 / 3)
    assert result.fraction == pytest.approx(4 / 6)


@BOTH
def test_units_of_two_widths_are_different_units(count: Count) -> None:
    result = (
        count(torch.ones(2, 3))
        + count(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
        + count(torch.ones(1, 3))
    )
    assert (result.dead_count, result.units, result.dead_units) == (4, 7, 4 / 7)
    assert result.saturated == 10


@BOTH
@pytest.mark.parametrize(
    ("shape", "unit_dim", "axis"),
    [
        ((4, 5), None, 1),
        ((4, 7, 5), None, 2),
        ((4, 5, 2, 3), None, 1),
        ((4, 5, 2, 3, 2), None, 1),
        ((4, 7, 5), 1, 1),
        ((4, 5, 2, 3), -1, 3),
        ((4, 5), 0, 0),
    ],
)
def test_unit_axis(
    count: Count, shape: tuple[int, ...], unit_dim: int | None, axis: int
) -> None:
    values = torch.zeros(shape)
    values.select(axis, 1).fill_(1.0)
    dead = count(values, unit_dim).dead[shape[axis]]
    assert dead.tolist() == [unit == 1 for unit in range(shape[axis])]


@pytest.mark.parametrize("shape", [(), (5,)])
def test_an_output_of_one_axis_is_one_unit(shape: tuple[int, ...]) -> None:
    assert units_last(torch.zeros(shape), None).shape == (math.prod(shape), 1)


def test_an_axis_that_does_not_exist_raises() -> None:
    with pytest.raises(IndexError):
        units_last(torch.zeros(2, 3), 2)


@BOTH
@pytest.mark.parametrize(
    "shape", [(700, 300), (40, 30, 12, 12), (3, 50_000, 2), (5, 4, 3, 2, 2)]
)
def test_against_plain_comparisons(count: Count, shape: tuple[int, ...]) -> None:
    axis = 1 if len(shape) > 3 else -1
    values = torch.randn(shape)
    values.select(axis, 1).fill_(math.inf)
    values.select(axis, 0).fill_(2.0)
    result = count(values, keep_map=True)
    mask = ((values.abs() > 0.99) & (values != math.inf)).movedim(axis, -1)
    assert (result.saturated, result.nonfinite) == (
        int(mask.sum()),
        int((values == math.inf).sum()),
    )
    assert result.count == values.numel() - result.nonfinite
    assert result.dead[mask.shape[-1]].tolist() == mask.flatten(0, -2).all(0).tolist()
    for size in mask.shape[1:-1]:
        mask = mask.select(1, size // 2)
    assert result.map is not None
    assert result.map.dtype == "uint8"
    expected = mask[: MAP_SHAPE[0], : MAP_SHAPE[1]] * WHITE
    assert result.map.tolist() == expected.tolist()


@BOTH
def test_map_of_the_first_examples_and_units(count: Count) -> None:
    h = torch.zeros(300, 600)
    h[0, 1] = 1.0
    shades = count(h, keep_map=True).map
    assert shades is not None
    assert shades.shape == MAP_SHAPE
    assert [axis.tolist() for axis in shades.nonzero()] == [[0], [1]]
    assert shades[0, 1] == WHITE
    assert count(h).map is None


@BOTH
@pytest.mark.parametrize(
    ("shape", "unit_dim", "center"),
    [
        ((2, 3), None, ()),
        ((2, 5, 3), None, (2,)),
        ((2, 4, 3), None, (2,)),
        ((2, 3, 5, 6), None, (2, 3)),
        ((2, 3, 1, 1), None, (0, 0)),
        ((2, 3, 2, 4, 6), None, (1, 2, 3)),
        ((2, 5, 6, 3), -1, (2, 3)),
    ],
)
def test_map_is_of_the_center_of_each_example(
    count: Count, shape: tuple[int, ...], unit_dim: int | None, center: tuple[int, ...]
) -> None:
    h = torch.zeros(shape)
    last = units_last(h, unit_dim)
    last[(1, *center, 2)] = 1.0
    for values in (h, h.transpose(0, 1).contiguous().transpose(0, 1)):
        result = count(values, unit_dim, keep_map=True)
        assert result.map is not None
        assert result.map.dtype == np.uint8
        assert result.map.tolist() == [[0, 0, 0], [0, 0, WHITE]]
        assert result.places == last.shape[1:-1]
    # The numbers are of all places.
    assert result.fraction == 1 / h.numel()


@BOTH
def test_map_of_channels_last(count: Count) -> None:
    values = torch.randn(3, 4, 5, 5).to(memory_format=torch.channels_last)
    shades = count(values, keep_map=True).map
    assert shades is not None
    expected = is_saturated(values[:, :, 2, 2]) * WHITE
    assert shades.tolist() == expected.tolist()


@BOTH
def test_words_for_a_unit_that_is_off_are_kept(count: Count) -> None:
    first = count(torch.ones(2, 7, 3), keep_map=True)
    second = count(torch.ones(2, 9, 3), keep_map=True)
    assert (first.off, (first + second).off) == ("zeros", "zeros")
    assert (first + second).places == (7,)
    assert (count(torch.ones(2, 9, 3)) + first).places == (7,)  # that of the map


def test_pooling_keeps_the_map_of_the_first() -> None:
    first, second = (
        on_cpu(torch.ones(2, 3), keep_map=True),
        on_cpu(torch.tensor([[1.0, 0.0, 0.0]]), keep_map=True),
    )
    pooled = first + second
    assert (pooled.saturated, pooled.count, pooled.dead_units) == (
        7,
        9,
        pytest.approx(1 / 3),
    )
    assert pooled.map is first.map
    assert (on_cpu(torch.ones(2, 3)) + second).map is second.map


def test_no_values_have_no_fraction() -> None:
    empty = Saturation(0, 0, 0, {})
    assert (empty.fraction, empty.dead_units, empty.units) == (None, None, 0)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_eight_bit_floats(count: Count, dtype: torch.dtype) -> None:
    result = count(torch.tensor([[0.25, 1.0], [1.0, 1.0]]).to(dtype), keep_map=True)
    assert (result.fraction, result.dead_units) == (0.75, 0.5)
