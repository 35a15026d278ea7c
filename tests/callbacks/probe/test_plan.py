"""Tests of the plan of a due step: which layers and parameters are measured, and by which statistics."""

import pytest
import torch
from torch import nn

from callbacks.measure.statistic import HistogramOf, MomentsOf, SaturationOf
from callbacks.probe.plan import MOST, Model, Plan, merge
from callbacks.probe.request import Quantity, Request, Scope

ACTIVATION = Request(Quantity.ACTIVATION, HistogramOf())
GRADIENT = Request(Quantity.ACTIVATION_GRAD, HistogramOf())
SATURATION = Request(Quantity.ACTIVATION, SaturationOf(), scope=Scope.ACTIVATIONS)
WEIGHT = Request(Quantity.WEIGHT, HistogramOf())
UPDATE = Request(Quantity.UPDATE, MomentsOf())


def tanh_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), nn.LeakyReLU(), nn.Linear(3, 1)
    )


def plan(root: nn.Module, *requests: Request, observe_fallback: bool = True) -> Plan:
    return Plan(Model(root), requests, observe_fallback)


class TestLayers:
    def test_activations_by_default(self) -> None:
        result = plan(tanh_net(), ACTIVATION, GRADIENT)
        assert list(result.layers) == ["1", "3"]
        assert result.layers["1"] == {
            Quantity.ACTIVATION: (HistogramOf(),),
            Quantity.ACTIVATION_GRAD: (HistogramOf(),),
        }
        assert not result.fallback

    def test_leaves_with_parameters_where_there_are_no_activations(self) -> None:
        net = nn.Sequential(nn.Linear(2, 3), nn.Flatten(), nn.Linear(3, 1))
        result = plan(net, ACTIVATION, SATURATION)
        assert list(result.layers) == ["0", "2"]
        assert result.fallback == {"0", "2"}
        assert result.layers["0"] == {Quantity.ACTIVATION: (HistogramOf(),)}

    def test_no_fallback_where_functions_are_called(self) -> None:
        assert plan(nn.Linear(2, 2), ACTIVATION, observe_fallback=False).layers == {}

    def test_patterns_choose_any_layer(self) -> None:
        chosen = Request(Quantity.ACTIVATION, HistogramOf(), ("0", "Tanh"))
        result = plan(tanh_net(), chosen)
        assert result.chosen[chosen] == {"0", "1"} == set(result.layers)

    def test_saturation_of_layers_that_saturate(self) -> None:
        everything = Request(Quantity.ACTIVATION, SaturationOf(), ("*",))
        result = plan(tanh_net(), SATURATION, everything)
        assert result.chosen[SATURATION] == {"1"}
        assert result.chosen[everything] == {
            "0",
            "1",
            "2",
            "4",
        }  # LeakyReLU never saturates
        assert set(result.regions) == {(name, 0.99) for name in ("0", "1", "2", "4")}

    def test_patterns_within_the_activations(self) -> None:
        request = Request(
            Quantity.ACTIVATION, SaturationOf(), ("*",), Scope.ACTIVATIONS
        )
        assert plan(tanh_net(), request).chosen[request] == {"1"}

    @pytest.mark.filterwarnings("ignore")
    def test_layers_inside_compiled_code_are_left_out(self) -> None:
        net = tanh_net()
        net[1].compile()
        result = plan(net, Request(Quantity.ACTIVATION, HistogramOf(), ("*",)))
        assert list(result.layers) == ["0", "2", "3", "4"]
        assert not result.observes_functions
        assert plan(tanh_net(), ACTIVATION).observes_functions

    def test_each_statistic_once(self) -> None:
        with_map = Request(
            Quantity.ACTIVATION, SaturationOf(keep_map=True), scope=Scope.ACTIVATIONS
        )
        moments = Request(Quantity.ACTIVATION, MomentsOf())
        result = plan(tanh_net(), moments, ACTIVATION, SATURATION, with_map, ACTIVATION)
        assert result.layers["1"][Quantity.ACTIVATION] == (
            HistogramOf(),
            SaturationOf(keep_map=True),
        )

    def test_two_thresholds_are_two_statistics(self) -> None:
        other = Request(Quantity.ACTIVATION, SaturationOf(0.9))
        result = plan(tanh_net(), SATURATION, other)
        assert result.layers["1"][Quantity.ACTIVATION] == (
            SaturationOf(),
            SaturationOf(0.9),
        )
        assert set(result.regions) == {("1", 0.99), ("1", 0.9)}


class TestFunctions:
    def test_no_patterns_accept_every_function(self) -> None:
        result = plan(tanh_net(), ACTIVATION, SATURATION, WEIGHT)
        assert result.accepts_function(ACTIVATION, "mlp.gelu", "GELU")
        assert not result.accepts_function(WEIGHT, "mlp.gelu", "GELU")
        assert result.statistics_of_function("mlp.gelu", "GELU") == {
            Quantity.ACTIVATION: (HistogramOf(), SaturationOf())
        }

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("mlp.*", True),
            ("gelu", True),
            ("GELU", True),
            ("*.gelu_1", False),
            ("tanh", False),
            ("mlp", False),
        ],
    )
    def test_patterns_match_names_and_kinds(self, pattern: str, expected: bool) -> None:
        request = Request(Quantity.ACTIVATION, HistogramOf(), (pattern,))
        result = plan(nn.Sequential(), request)
        assert result.accepts_function(request, "mlp.gelu", "GELU") == expected
        assert bool(result.statistics_of_function("mlp.gelu", "GELU")) == expected

    def test_not_observed_for_parameters_alone(self) -> None:
        assert not plan(tanh_net(), WEIGHT, UPDATE).observes_functions


class TestParameters:
    def test_matrices_by_default(self) -> None:
        result = plan(tanh_net(), WEIGHT, UPDATE)
        assert list(result.params) == ["0.weight", "2.weight", "4.weight"]
        assert result.params["0.weight"] == {
            Quantity.WEIGHT: (HistogramOf(),),
            Quantity.UPDATE: (MomentsOf(),),
        }

    def test_all_for_the_total_norm(self) -> None:
        request = Request(Quantity.WEIGHT_GRAD, MomentsOf(), scope=Scope.ALL)
        net = tanh_net()
        net.spectrum = nn.Parameter(torch.randn(2, 2, dtype=torch.cfloat))
        assert plan(net, request).chosen[request] == {
            name for name, _ in net.named_parameters()
        }

    def test_patterns(self) -> None:
        request = Request(Quantity.WEIGHT, HistogramOf(), ("*.bias", "0.*"))
        assert list(plan(tanh_net(), request).params) == [
            "0.weight",
            "0.bias",
            "2.bias",
            "4.bias",
        ]

    def test_lazy_parameters(self) -> None:
        result = plan(nn.LazyLinear(3), WEIGHT)
        assert result.has_lazy
        assert set(result.params) == {"weight", "bias"}


class TestReduced:
    def test_default_choice_of_a_deep_model(self) -> None:
        net = nn.Sequential(
            *(module for _ in range(100) for module in (nn.Linear(2, 2), nn.Tanh()))
        )
        result = plan(net, ACTIVATION, WEIGHT)
        assert len(result.layers) == len(result.params) == MOST
        assert result.reduced == {"layers": 100, "params": 100}
        assert tuple(list(result.layers)[index] for index in (0, -1)) == ("1", "199")

    def test_not_where_the_choice_is_explicit(self) -> None:
        net = nn.Sequential(*(nn.Tanh() for _ in range(100)))
        result = plan(net, Request(Quantity.ACTIVATION, HistogramOf(), ("*",)))
        assert len(result.layers) == 100
        assert result.reduced == {}

    def test_nor_of_the_total_norm(self) -> None:
        net = nn.Sequential(*(nn.Linear(2, 2) for _ in range(100)))
        result = plan(net, Request(Quantity.WEIGHT_GRAD, MomentsOf(), scope=Scope.ALL))
        assert len(result.params) == 200
        assert result.reduced == {}


class TestModel:
    def test_current_until_a_layer_or_parameter_changes(self) -> None:
        def replaced_layer(net: nn.Sequential) -> None:
            net[1] = nn.ReLU()

        def replaced_parameter(net: nn.Sequential) -> None:
            net[0].weight = nn.Parameter(torch.zeros(3, 2))

        def frozen(net: nn.Sequential) -> None:
            net[0].requires_grad_(False)

        def added(net: nn.Sequential) -> None:
            net.append(nn.Tanh())

        def compiled(net: nn.Sequential) -> None:
            net[1].compile()

        for change in (replaced_layer, replaced_parameter, frozen, added, compiled):
            net = tanh_net()
            model = Model(net)
            assert model.is_current
            change(net)
            assert not model.is_current, change.__name__

    def test_outdated_once_a_lazy_layer_has_its_shape(self) -> None:
        net = nn.Sequential(nn.LazyLinear(2))
        model = Model(net)
        net(torch.zeros(1, 3))
        assert not model.is_current

    def test_current_through_a_step(self) -> None:
        net = tanh_net()
        model = Model(net)
        net(torch.zeros(1, 2)).sum().backward()
        torch.optim.SGD(net.parameters(), lr=0.1).step()
        assert model.is_current


def test_merge_keeps_what_holds_the_others() -> None:
    assert merge((), MomentsOf()) == (MomentsOf(),)
    assert merge((MomentsOf(),), HistogramOf()) == (HistogramOf(),)
    assert merge((HistogramOf(),), MomentsOf()) == (HistogramOf(),)
    assert merge((HistogramOf(), SaturationOf()), SaturationOf(keep_map=True)) == (
        HistogramOf(),
        SaturationOf(keep_map=True),
    )
