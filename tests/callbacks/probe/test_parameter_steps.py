"""Tests of the facts of optimizers' steps: who was asked to move, at which rate, and who moved."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer, RMSprop

from callbacks.measure.placement import simulated_device
from callbacks.probe.parameter_steps import ParameterStep, ParameterSteps


def net_and_steps() -> tuple[nn.Linear, ParameterSteps]:
    net = nn.Linear(2, 2)
    return net, ParameterSteps(
        {id(param): name for name, param in net.named_parameters()}
    )


def test_notes_what_was_asked_and_what_returned() -> None:
    net, steps = net_and_steps()
    net.weight.grad = torch.ones(2, 2)
    optimizer = SGD(net.parameters(), lr=0.1)
    assert not steps.any_returned(["weight"])
    steps.note_asked(optimizer)
    assert steps.steps == {
        "weight": ParameterStep(has_gradient=True, rate=0.1, is_adaptive=False),
        "bias": ParameterStep(has_gradient=False, rate=0.1, is_adaptive=False),
    }
    assert not steps.any_returned(["weight"])
    steps.note_returned(optimizer)
    assert steps.steps["weight"].returned
    assert steps.any_returned(["other", "weight"])
    assert not steps.any_returned(["other"])


def test_parameters_of_another_model_are_left_out() -> None:
    net, steps = net_and_steps()
    optimizer = SGD([*net.parameters(), nn.Parameter(torch.ones(2))], lr=0.1)
    assert [name for name, _ in steps.params_of(optimizer)] == ["weight", "bias"]
    steps.note_asked(optimizer)
    assert list(steps.steps) == ["weight", "bias"]


def test_each_parameter_group_has_its_rate() -> None:
    net, steps = net_and_steps()
    steps.note_asked(
        SGD([{"params": [net.weight], "lr": 0.0}, {"params": [net.bias], "lr": 0.5}])
    )
    assert (steps.steps["weight"].rate, steps.steps["bias"].rate) == (0.0, 0.5)


def test_a_rate_that_is_a_tensor() -> None:
    net, steps = net_and_steps()
    optimizer = Adam(
        net.parameters(), lr=torch.tensor(0.25), capturable=False, foreach=False
    )
    steps.note_asked(optimizer)
    assert steps.steps["weight"].rate == 0.25
    with simulated_device():
        steps.note_asked(optimizer)
    assert isinstance(
        steps.steps["weight"].rate, torch.Tensor
    )  # read with everything else


@pytest.mark.parametrize(
    ("make", "is_adaptive"),
    [
        (lambda p: SGD(p, lr=0.1), False),
        (lambda p: Adam(p, lr=0.1), True),
        (lambda p: AdamW(p, lr=0.1), True),
        (lambda p: RMSprop(p, lr=0.1), True),
        (lambda p: LBFGS(p, lr=0.1), None),
    ],
)
def test_kinds_of_optimizers(
    make: Callable[[Any], Optimizer], is_adaptive: bool | None
) -> None:
    net, steps = net_and_steps()
    steps.note_asked(make(net.parameters()))
    assert steps.steps["weight"].is_adaptive == is_adaptive


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (ParameterStep(rate=0.1, is_adaptive=False), 0.2),
        (ParameterStep(rate=0.1, is_adaptive=True), 0.1),
        (ParameterStep(rate=0.1, is_adaptive=None), None),
        (ParameterStep(rate=None, is_adaptive=True), None),
    ],
)
def test_expected_change(step: ParameterStep, expected: float | None) -> None:
    assert step.expected_change(largest_gradient=2.0) == (
        None if expected is None else pytest.approx(expected)
    )
