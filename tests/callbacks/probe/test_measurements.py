"""Tests of the results of a step: pooled over ranks, in forward order, by request, and the origin of a NaN."""

from typing import Any

import torch
from torch import nn

from callbacks import Histogram
from callbacks.measure.moments import Moments
from callbacks.measure.statistic import HistogramOf, MomentsOf, SaturationOf
from callbacks.probe.measurements import (
    Measurements,
    RankMeasurements,
    in_order,
    pool,
    without_fallback,
)
from callbacks.probe.names import Origin
from callbacks.probe.plan import Model, Plan
from callbacks.probe.request import Key, Quantity, Request, Scope

ACTIVATION = Request(Quantity.ACTIVATION, MomentsOf())
GRADIENT = Request(Quantity.ACTIVATION_GRAD, MomentsOf())
WEIGHT = Request(Quantity.WEIGHT, MomentsOf())
SATURATION = Request(Quantity.ACTIVATION, SaturationOf(), scope=Scope.ACTIVATIONS)


def key(quantity: Quantity, name: str) -> Key:
    return Key(quantity, name, MomentsOf())


def moments(*values: float) -> Moments:
    return Moments.of(torch.tensor(values))


def rank(
    results: dict[Key, Any],
    order: tuple[str, ...] = (),
    failures: dict[Key, str] | None = None,
    origins: dict[str, Origin] | None = None,
) -> RankMeasurements:
    layers = {
        k.name: Origin(k.name)
        for k in results
        if k.quantity in (Quantity.ACTIVATION, Quantity.ACTIVATION_GRAD)
    }
    return RankMeasurements(
        results, failures or {}, list(order), layers | (origins or {})
    )


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh())


def plan(*requests: Request, root: nn.Module | None = None) -> Plan:
    return Plan(Model(root or net()), requests)


class TestPool:
    def test_results_of_ranks_add_up(self) -> None:
        one, two = key(Quantity.ACTIVATION, "1"), key(Quantity.ACTIVATION, "3")
        pooled = pool(
            [
                rank({one: moments(1, 2)}, ("1",)),
                rank({two: moments(5), one: moments(3)}, ("3", "1")),
            ]
        )
        assert pooled.results[one] == moments(1, 2) + moments(3)
        assert pooled.results[two] == moments(5)
        assert pooled.order == ["1", "3"]

    def test_a_failure_on_one_rank_is_one_on_all(self) -> None:
        one, two = key(Quantity.ACTIVATION, "1"), key(Quantity.ACTIVATION, "3")
        pooled = pool(
            [
                rank({one: moments(1), two: moments(1)}),
                rank({two: moments(1)}, failures={one: "no"}),
            ]
        )
        assert pooled.results.keys() == {two}
        assert pooled.failures == {one: "no"}


def test_layers_in_forward_order_and_parameters_in_that_of_their_definition() -> None:
    layers = [key(Quantity.ACTIVATION, name) for name in ("3", "1", "f")]
    params = [key(Quantity.WEIGHT, name) for name in ("2.weight", "0.weight")]
    results = dict.fromkeys([*layers, *params], moments(1))
    pooled = rank(results, ("1", "f", "3"), origins={"f": Origin("", "f", "ReLU")})
    ordered = [k.name for k in in_order(pooled, dict(net().named_parameters()))]
    assert [name for name in ordered if "weight" in name] == ["0.weight", "2.weight"]
    assert [name for name in ordered if "weight" not in name] == ["1", "f", "3"]


class TestFallback:
    def pooled(self, **origins: Origin) -> RankMeasurements:
        names = ["0", *origins]
        results = {key(Quantity.ACTIVATION, name): moments(1) for name in names}
        return rank(results, tuple(names), origins=origins)

    def test_leaf_layers_stay_without_functions(self) -> None:
        leaves = plan(ACTIVATION, root=nn.Sequential(nn.Linear(2, 2)))
        assert len(without_fallback(self.pooled(), leaves).results) == 1

    def test_leaf_layers_are_dropped_beside_functions(self) -> None:
        leaves = plan(ACTIVATION, root=nn.Sequential(nn.Linear(2, 2)))
        results = without_fallback(
            self.pooled(relu=Origin("", "relu", "ReLU")), leaves
        ).results
        assert [k.name for k in results] == ["relu"]

    def test_layers_that_were_asked_for_stay(self) -> None:
        asked = Request(Quantity.ACTIVATION, MomentsOf(), ("0",))
        leaves = plan(ACTIVATION, asked, root=nn.Sequential(nn.Linear(2, 2)))
        results = without_fallback(
            self.pooled(relu=Origin("", "relu", "ReLU")), leaves
        ).results
        assert [k.name for k in results] == ["0", "relu"]


class TestOf:
    def test_results_of_a_request_by_name(self) -> None:
        histogram = Histogram.of(torch.ones(3))
        wide = Key(Quantity.ACTIVATION, "1", HistogramOf())
        origins = {"1": Origin("1")}
        measured = Measurements(
            0,
            {wide: histogram, key(Quantity.WEIGHT, "0.weight"): moments(1)},
            origins,
            plan(ACTIVATION),
        )
        assert measured.of(ACTIVATION) == {
            "1": histogram.moments
        }  # part of the histogram of another request
        assert measured.of(GRADIENT) == {}
        assert measured.get(Quantity.ACTIVATION, "1", MomentsOf()) == histogram.moments
        assert measured.get(Quantity.ACTIVATION, "2", MomentsOf()) is None

    def test_only_what_a_request_chose(self) -> None:
        chosen = Request(Quantity.ACTIVATION, MomentsOf(), ("1",))
        results = {
            key(Quantity.ACTIVATION, name): moments(1) for name in ("1", "3", "3.0")
        }
        origins = {"1": Origin("1"), "3": Origin("3"), "3.0": Origin("3", ".0")}
        measured = Measurements(0, results, origins, plan(chosen, ACTIVATION))
        assert list(measured.of(chosen)) == ["1"]
        assert list(measured.of(ACTIVATION)) == ["1", "3", "3.0"]

    def test_functions_by_pattern(self) -> None:
        gelu = Request(Quantity.ACTIVATION, MomentsOf(), ("*gelu",))
        results = {
            key(Quantity.ACTIVATION, name): moments(1) for name in ("0.gelu", "0.tanh")
        }
        origins = {
            "0.gelu": Origin("0", "gelu", "GELU"),
            "0.tanh": Origin("0", "tanh", "Tanh"),
        }
        measured = Measurements(0, results, origins, plan(gelu, ACTIVATION))
        assert list(measured.of(gelu)) == ["0.gelu"]
        assert list(measured.of(ACTIVATION)) == ["0.gelu", "0.tanh"]


def test_a_lowered_scale_is_a_skipped_step() -> None:
    def skipped(**results: Moments) -> bool:
        return Measurements(
            0,
            {key(Quantity.SCALE, ""): value for value in results.values()},
            {},
            plan(),
        ).was_skipped

    assert skipped(scale=moments(-128.0))
    assert not skipped(scale=moments(0.0))
    assert not skipped(scale=moments(256.0))
    assert not skipped()


class TestNonfinite:
    def order(self, *broken: tuple[Quantity, str]) -> list[tuple[Quantity, str, int]]:
        names = ["1", "3"]
        results = {
            key(quantity, name): moments(1.0) for quantity in Quantity for name in names
        }
        results |= {
            key(quantity, name): moments(float("nan"), 1.0) for quantity, name in broken
        }
        return [
            (k.quantity, k.name, n)
            for k, n in Measurements(0, results, {}, plan()).nonfinite()
        ]

    def test_causes_before_effects(self) -> None:
        broken = [(quantity, "1") for quantity in reversed(Quantity)]
        assert [quantity for quantity, *_ in self.order(*broken)] == list(Quantity)

    def test_the_first_layer_of_a_forward_pass_and_the_last_of_a_backward_pass(
        self,
    ) -> None:
        forward = [(Quantity.ACTIVATION, "3"), (Quantity.ACTIVATION, "1")]
        assert self.order(*forward) == [
            (Quantity.ACTIVATION, "1", 1),
            (Quantity.ACTIVATION, "3", 1),
        ]
        backward = [(Quantity.ACTIVATION_GRAD, "1"), (Quantity.ACTIVATION_GRAD, "3")]
        assert self.order(*backward) == [
            (Quantity.ACTIVATION_GRAD, "3", 1),
            (Quantity.ACTIVATION_GRAD, "1", 1),
        ]

    def test_no_result_without_any(self) -> None:
        assert self.order() == []
