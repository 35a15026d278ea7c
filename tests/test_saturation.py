"""Counts of what is saturated beside plain comparisons."""

import math

import pytest
import torch
from hypothesis import given
from torch import Tensor
from values import any_tensor

from callbacks._saturation import SHOWN, Saturation, SaturationTally, by_unit
from callbacks._statistics import widened


def count(values: Tensor, *more: Tensor, unit_dim: int | None = None, shows: bool = False) -> Saturation:
    tally = SaturationTally(lambda h: widened(h).abs() > 0.99, unit_dim, shows)
    for part in (values, *more):
        tally.add(part)
    return tally.value(tally.tensors())


@given(values=any_tensor())
def test_share_is_of_the_finite_values(values: Tensor) -> None:
    if not values.numel():
        return
    flat = values.double().flatten().tolist()
    finite = [x for x in flat if math.isfinite(x)]
    saturated = sum(bool(torch.tensor(x, dtype=values.dtype).float().abs() > 0.99) for x in finite)
    found = count(values)
    assert (found.count, found.nonfinite) == (len(finite), len(flat) - len(finite))
    if values.dtype != torch.float64:
        assert found.saturated == saturated


def test_dead_units_are_saturated_on_every_example() -> None:
    h = torch.tensor([[1.0, 1.0, 0.2, math.nan], [-1.0, 0.0, 0.1, 1.0], [0.999, 1.0, 1.0, 1.0]])
    found = count(h)
    assert found.always is not None
    assert found.always.tolist() == [True, False, False, False]
    assert found.dead_units == 0.25
    assert found.share == pytest.approx(8 / 11)


def test_dead_units_are_those_of_all_batches_of_a_step() -> None:
    found = count(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 1.0]]))
    assert found.dead_units == pytest.approx(1 / 3)
    assert found.share == pytest.approx(4 / 6)


def test_units_that_change_in_number_have_no_dead_share() -> None:
    found = count(torch.ones(2, 3), torch.ones(2, 4))
    assert (found.dead_units, found.share) == (None, 1.0)


@pytest.mark.parametrize(
    ("shape", "unit_dim", "laid_out"),
    [
        ((), None, (1, 1)),
        ((5,), None, (5, 1)),
        ((4, 5), None, (4, 5)),
        ((4, 7, 5), None, (28, 5)),
        ((4, 5, 2, 3), None, (24, 5)),
        ((4, 5, 2, 3, 2), None, (48, 5)),
        ((4, 7, 5), 1, (20, 7)),
        ((4, 5, 2, 3), -1, (40, 3)),
    ],
)
def test_unit_axis(shape: tuple[int, ...], unit_dim: int | None, laid_out: tuple[int, int]) -> None:
    values = torch.arange(math.prod(shape)).reshape(shape)
    found = by_unit(values, unit_dim)
    assert found.shape == laid_out
    assert sorted(found.flatten().tolist()) == list(range(math.prod(shape)))
    if values.ndim == 4 and unit_dim is None:
        assert set(found[:, 2].tolist()) == set(values[:, 2].flatten().tolist())


def test_shows_the_first_examples_and_units() -> None:
    h = torch.zeros(300, 600)
    h[0, 1] = 1.0
    shown = count(h, shows=True).shown
    assert shown is not None
    assert shown.shape == SHOWN
    assert shown.nonzero().tolist() == [[0, 1]]
    assert count(h).shown is None


def test_an_empty_batch_counts_for_nothing() -> None:
    assert count(torch.ones(0, 3), torch.zeros(2, 3)).dead_units == 0.0
    assert SaturationTally(lambda h: h > 0, None, True).tensors() == []


def test_processes_are_pooled() -> None:
    one, other = count(torch.ones(2, 3), shows=True), count(torch.tensor([[1.0, 0.0, 0.0]]), shows=True)
    both = one + other
    assert (both.saturated, both.count, both.dead_units) == (7, 9, pytest.approx(1 / 3))
    assert both.shown is one.shown
