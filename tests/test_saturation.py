"""Counts of what is saturated beside plain comparisons."""

import math

import pytest
import torch
from hypothesis import given
from torch import Tensor
from values import any_tensor

from callbacks import _saturation
from callbacks._saturation import SHOWN, Saturation, SaturationTally, units_last
from callbacks._statistics import widened


def count(values: Tensor, *more: Tensor, unit_dim: int | None = None, shows: bool = False) -> Saturation:
    tally = SaturationTally(lambda h: widened(h).abs() > 0.99, unit_dim, shows)
    for part in (values, *more):
        tally.add(part)
    found = tally.value(tally.tensors())
    assert found is not None
    return found


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
def test_unit_axis(shape: tuple[int, ...], unit_dim: int | None, axis: int) -> None:
    values = torch.zeros(shape)
    values.select(axis, 1).fill_(1.0)
    always = count(values, unit_dim=unit_dim).always
    assert always is not None
    assert always.tolist() == [unit == 1 for unit in range(shape[axis])]


@pytest.mark.parametrize("shape", [(), (5,)])
def test_an_output_of_one_axis_is_one_unit(shape: tuple[int, ...]) -> None:
    assert units_last(torch.zeros(shape), None).shape == (math.prod(shape), 1)


@pytest.mark.parametrize("host", [True, False])
@pytest.mark.parametrize("shape", [(700, 300), (40, 30, 12, 12), (3, 50_000, 2)])
def test_beside_plain_comparisons(shape: tuple[int, ...], host: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_saturation, "on_host", lambda _: host)
    values = torch.randn(shape)
    values.select(1 if len(shape) == 4 else -1, 1).fill_(math.inf)
    values.select(1 if len(shape) == 4 else -1, 0).fill_(2.0)
    found = count(values, values, shows=True)
    saturated = (values.abs() > 0.99) & (values != math.inf)
    laid_out = saturated.permute(0, 2, 3, 1).reshape(-1, shape[1]) if len(shape) == 4 else saturated.flatten(0, -2)
    assert (found.saturated, found.nonfinite) == (2 * int(saturated.sum()), 2 * int((values == math.inf).sum()))
    assert found.count == 2 * values.numel() - found.nonfinite
    assert found.always is not None
    assert found.always.nonzero()[0].tolist() == laid_out.all(0).nonzero().flatten().tolist()
    assert found.shown is not None
    assert found.shown.tolist() == laid_out[: SHOWN[0], : SHOWN[1]].tolist()


def test_shows_the_first_examples_and_units() -> None:
    h = torch.zeros(300, 600)
    h[0, 1] = 1.0
    shown = count(h, shows=True).shown
    assert shown is not None
    assert shown.shape == SHOWN
    assert [axis.tolist() for axis in shown.nonzero()] == [[0], [1]]
    assert count(h).shown is None


def test_an_empty_batch_counts_for_nothing() -> None:
    assert count(torch.ones(0, 3), torch.zeros(2, 3)).dead_units == 0.0
    assert SaturationTally(lambda h: h > 0, None, True).value([]) is None


def test_processes_are_pooled() -> None:
    one, other = count(torch.ones(2, 3), shows=True), count(torch.tensor([[1.0, 0.0, 0.0]]), shows=True)
    both = one + other
    assert (both.saturated, both.count, both.dead_units) == (7, 9, pytest.approx(1 / 3))
    assert both.shown is one.shown


@pytest.mark.parametrize("host", [True, False])
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_eighths_of_precision(host: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_saturation, "on_host", lambda _: host)
    found = count(torch.tensor([[0.25, 1.0], [1.0, 1.0]]).to(dtype), shows=True)
    assert (found.share, found.dead_units) == (0.75, 0.5)
