"""Tests of the activations that are known among modules and functions."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from callbacks.measure.activations import (
    DEFAULTS,
    FUNCTIONS,
    Activation,
    activation_of_call,
    activation_of_module,
    function_name,
    is_activation,
)


class NewGELUActivation(nn.Module):
    """Activation of transformers: no subclass of nn.GELU."""


class MyTanh(nn.Tanh):
    """Subclass of an activation of torch."""


class Tanhlike(nn.Module):
    """Class name that only begins like that of an activation."""


class GELU(nn.Module):
    """Class name of an activation, and a parameter: a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (NewGELUActivation(), "GELU"),
        (MyTanh(), "Tanh"),
        (nn.ReLU6(), "Hardtanh"),
        (nn.SiLU(inplace=True), "SiLU"),
        (nn.PReLU(), "PReLU"),
        (nn.MultiheadAttention(2, 1), None),
        (nn.Softmax(-1), None),
        (nn.Identity(), None),
        (nn.Sequential(nn.Tanh()), None),
        (Tanhlike(), None),
        (GELU(), None),
    ],
)
def test_activation_modules(module: nn.Module, kind: str | None) -> None:
    activation = activation_of_module(module)
    assert (activation and activation.kind) == kind
    assert is_activation(module) == (kind is not None)


def test_arguments_of_modules() -> None:
    activation = activation_of_module(nn.Hardtanh(-2, 3))
    assert activation is not None
    assert activation.arguments == {"min_val": -2, "max_val": 3}


def test_defaults_are_those_of_torch() -> None:
    for kind, arguments in DEFAULTS.items():
        module = nn.Threshold(0.0, 0.0) if kind == "Threshold" else getattr(nn, kind)()
        assert {name: getattr(module, name) for name in arguments} == arguments, kind


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (torch.tanh, "tanh"),
        (torch.Tensor.tanh, "tanh"),
        (torch.Tensor.tanh_, "tanh"),
        (torch.relu_, "relu"),
        (F.relu, "relu"),
        (F.relu6, "relu6"),
        (F.gelu, "gelu"),
        (F.leaky_relu, "leaky_relu"),
        (torch.exp, None),
        (F.softmax, None),
        (torch.Tensor.__add__, None),
    ],
)
def test_names_of_functions(function: Callable[..., Any], name: str | None) -> None:
    assert function_name(function) == name


@pytest.mark.parametrize("kind", DEFAULTS)
def test_the_function_of_every_module_is_known(kind: str) -> None:
    """A module of torch calls the function that a model may call in its place."""
    spelled = {"LeakyReLU": "leaky_relu"}.get(kind, kind.lower())
    name = function_name(getattr(F, spelled))
    assert name is not None
    assert FUNCTIONS[name] == kind


@pytest.mark.parametrize(
    ("name", "arguments", "keywords", "expected"),
    [
        ("tanh", (), {}, {}),
        ("elu", (), {}, {"alpha": 1.0}),
        ("elu", (0.5,), {}, {"alpha": 0.5}),
        ("elu", (), {"alpha": 0.5, "inplace": True}, {"alpha": 0.5}),
        ("hardtanh", (-2.0, 3.0), {}, {"min_val": -2.0, "max_val": 3.0}),
        ("hardtanh", (-2.0,), {"max_val": 3.0}, {"min_val": -2.0, "max_val": 3.0}),
        ("relu6", (True,), {}, {"min_val": 0.0, "max_val": 6.0}),
        ("softplus", (2.0, 20.0), {}, {"beta": 2.0}),
        ("threshold", (0.1, 20.0), {}, {"threshold": 0.1, "value": 20.0}),
        ("relu", (True,), {}, {}),
    ],
)
def test_arguments_of_calls(
    name: str,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    expected: dict[str, float],
) -> None:
    values: Tensor = torch.zeros(2)
    activation = activation_of_call(name, (values, *arguments), keywords)
    assert activation == Activation(FUNCTIONS[name], expected)
