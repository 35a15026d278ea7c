"""Tests of the rules: each has trainings that it must find and others that it must leave alone."""

import inspect
import math
import re
from typing import Any

import numpy as np
import pytest
from made_up_steps import (
    STEPS,
    findings,
    layers,
    relu,
    rules_broken,
    tanh,
    training,
    weight,
)
from made_up_trainings import (
    DEAD,
    SICK,
    Sick,
    all_params,
    entropy,
    error,
    flat,
    params,
    rates,
    still,
)

from callbacks.health.catalogue import NAMES, RULES
from callbacks.health.observation import Input, LossFunction
from callbacks.health.rule import Rule


@pytest.mark.parametrize("sick", SICK, ids=lambda sick: f"{sick.rule}-{sick.severity}")
def test_a_rule_finds_what_is_sick(sick: Sick) -> None:
    broken = rules_broken(training(sick.steps, **sick.changes))
    assert broken.get(sick.rule) == sick.severity


def test_a_scaler_that_skips_every_tenth_step_breaks_no_other_rule() -> None:
    (sick,) = [each for each in SICK if each.rule == "scaler_skips"]
    broken = rules_broken(training(sick.steps, **sick.changes))
    assert broken == {"scaler_skips": "warn"}


def test_every_rule_has_a_sick_training() -> None:
    assert {sick.rule for sick in SICK} == set(NAMES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_severity_of_a_rule_has_a_sick_training(rule: Rule) -> None:
    """Severities that its limits and its code name."""
    named = {
        severity
        for limits in rule.limits.values()
        for severity in ("warn", "fail")
        if getattr(limits, severity) is not None
    }
    named |= set(re.findall(r'"(note|warn|fail)"', inspect.getsource(rule.find)))
    assert named
    assert named == {sick.severity for sick in SICK if sick.rule == rule.name}


HEALTHY: dict[str, dict[str, Any]] = {
    "as it is": {},
    "no loss function": {"losses": ()},
    "regression": {"losses": (LossFunction("mse_loss", value=9.0),)},
    "a regression of large outputs": {
        "losses": error(30.0),
        "loss": lambda step: 30 / (1 + step),
    },
    "a regression that is part of a loss": {"losses": error(600.0)},
    "a regression beside a large penalty": {
        "losses": error(2.0),
        "loss": lambda step: 600 / (1 + step),
    },
    "two losses of which one is large": {"losses": error(600.0) + entropy()},
    "targets that are zero throughout": {
        "losses": error(2.5, mean=0.0, std=0.0, low=0.0, high=0.0)
    },
    "pixels from a sigmoid": {
        "losses": error(activation="sigmoid", mean=0.3, std=0.4, low=0.0, high=1.05)
    },
    "a sigmoid, and an outlier": {
        "losses": error(activation="sigmoid", mean=0.3, std=0.4, low=0.0, high=3.0)
    },
    "counts from a ReLU, and an outlier": {
        "losses": error(activation="ReLU", mean=5.0, std=2.0, low=-1.0, high=30.0)
    },
    "targets as they are": {"losses": error(mean=152.0, std=77.0, low=25.0, high=346)},
    "a layer of zeros": {"params": params(std=0.0, fingerprint=(0.0, 0.0))},
    "a log-likelihood below zero": {"loss": lambda step: 2.3 - step / 10},
    "a policy gradient of large rewards": {"loss": lambda step: -300 * math.sin(step)},
    "large updates of a loss that falls": {
        "params": rates(lambda step: 0.1, lambda step: -0.8 if step <= 64 else -2.5)
    },
    "noisy updates of a loss that has fallen": {
        "params": rates(
            lambda step: 0.1, lambda step: -1.3 if step in (200, 250, 300) else -2
        )
    },
    "a decay to nothing in the second half": {
        "params": rates(lambda step: 0.1 if step < 200 else 1e-6, lambda step: -3.0),
        "progress": lambda step: (step + 1) / 400,
    },
    "a schedule that begins again": {
        "params": rates(
            lambda step: 0.05 * (1 + math.cos(math.pi * (step % 100) / 99)),
            lambda step: -3.0,
        ),
        "progress": lambda step: (step + 1) / 4000,
    },
    "a rate that is low for a while": {
        "params": rates(
            lambda step: 1e-6 if step in (150, 200) else 0.1, lambda step: -3.0
        ),
        "progress": lambda step: (step + 1) / 4000,
    },
    "a loss far below zero that stays there": {
        "loss": lambda step: -500 + 10 * (step // 50 % 2) if step else 0.0
    },
    "an energy whose loss is of its slope": {
        "params": lambda step: {
            "a.weight": weight(step),
            "a.bias": weight(
                step, axes=1, has_gradient=False, fingerprint=(1.0, 1.0), moved=False
            ),
        }
    },
    "an output's sigmoid": {"layers": {"act": tanh(saturated=0.9, is_output=True)}},
    "a gate": {"layers": {"act": tanh(saturated=0.9, is_gate=True)}},
    "ReLU's zeros": {"layers": {"act": relu(saturated=0.85)}},
    "ReLU6's ends": {"layers": {"act": relu(kind="Hardtanh", saturated=0.85)}},
    "a loss that is large later": {
        "losses": lambda step: entropy(27.0 if step > 0 else 2.3)
    },
    "batches that differ twice in a row": {
        "loss": lambda step: 4.0 if step in (32, 64) else 1.2 - step / 1000
    },
    "a loss that begins above zero": {
        "loss": lambda step: 1.0 if step == 0 else 2 * math.sin(step)
    },
    "GELU's flat end": {"layers": {"act": tanh(kind="GELU", saturated=0.5)}},
    "few dead units": {"layers": {"act": relu(dead={4: np.array([1, 0, 0, 0]) > 0})}},
    "dead on few examples": {"layers": {"act": relu(dead=DEAD, examples=2)}},
    "two layers of other scale": {"layers": layers(2, 1 / 100)},
    "branches of blocks": {"layers": layers(6, 1 / 25, is_in_block=True)},
    "a loss that is blind to a bias": {"params": still(axes=1, has_zero_gradient=True)},
    "residual blocks that grow": {"layers": layers(8, 20, is_block=True)},
    "large updates at first": {
        "params": rates(lambda step: 0.1, lambda step: -1.4 if step <= 64 else -2.5)
    },
    "Adagrad at first": {
        "params": rates(lambda step: 0.1, lambda step: -0.5 if step <= 64 else -2.5),
        "optimizers": ("Adagrad",),
    },
    "LBFGS, which searches for the length of its steps": {
        "params": all_params(update_ratio=-0.3),
        "optimizers": ("LBFGS",),
    },
    "a loss that has nothing left to teach": {
        "params": all_params(has_zero_gradient=True),
        "loss": lambda step: 0.0,
    },
    "dropout of a half": {"dropped": {"drop": 0.5}},
    "an embedding as PyTorch draws it": {"params": params(kind="Embedding", std=1.0)},
    "first batches that are easy by chance": {
        "loss": lambda step: {0: 0.4, 1: 0.3, 2: 0.9}.get(step, 1.2 + 0.1 * (step % 3))
    },
    "warm-up": {
        "params": rates(lambda step: step / 350, lambda step: -6 if step < 10 else -3)
    },
    "decay to zero": {
        "params": rates(
            lambda step: 0.1 * 10 ** (-step / 180), lambda step: -3.3 - step / 180
        )
    },
    "one odd layer of an embedding": {
        "params": params(update_ratio=-5.5, kind="Embedding")
    },
    "a weight that begins at zero": {
        "params": lambda step: {
            name: weight(step, std=0.0 if step == 0 else 0.1, update_ratio=-0.1)
            for name in "abc"
        }
    },
    "an unused teacher": {
        "params": still(has_gradient=False),
        "unoptimized": ("c.weight",),
    },
    "a parameter that moves at other steps": {
        "params": params(moved=False, update_ratio=None)
    },
    "raw pixels into a norm": {"inputs": {"a": Input(120.0, 70.0, True)}},
    "a loss that begins low": {"losses": entropy(0.3)},
    "log-probabilities by hand": {
        "losses": entropy(is_normalized=False, mass=(0.99, 1.01))
    },
    "batches that differ": {
        "loss": lambda step: 4.0 if step in (2, 64, 200) else 1.2 - step / 1000
    },
    "a first batch of little loss": {
        "loss": lambda step: 0.4 if step == 0 else 1.3 - step / 1000
    },
    "a new head on a frozen base": {
        "losses": entropy(4.0),
        "params": params(trains=False),
    },
    "a residual stream of large scale": {
        "layers": layers(4, 1.0)
        | {"block": tanh(std=300.0, is_block=True, group="blocks")}
    },
    "policy gradient": {"loss": lambda step: math.sin(step)},
    "two losses by hand": {"loss": flat, "has_single_loss": False},
    "ranks that agree": {"params": params(copies=(1.5, 1.5))},
    "below the limit of clipping": {
        "gradient_norm": 0.9,
        "clip": 1.0,
        "is_clipped": False,
    },
    "clipping of each part of a model": {
        "gradient_norm": lambda step: 5.0 if step == 8 else 1.3,
        "clip": 1.0,
        "is_clipped": lambda step: step == 8,
    },
    "clipping once in a while": {
        "gradient_norm": lambda step: 9.0 if step == 8 else 0.1,
        "clip": 1.0,
    },
}


@pytest.mark.parametrize("changes", HEALTHY.values(), ids=HEALTHY.keys())
def test_rules_leave_healthy_trainings_alone(changes: dict[str, Any]) -> None:
    serious = [
        each for each in findings(training(**changes)) if each.severity != "note"
    ]
    assert not serious


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rules_say_why_and_what_to_do(rule: Any) -> None:
    for text in (rule.measures, rule.why, rule.remedy, rule.source):
        assert text
    assert rule.why.endswith(".")
    assert rule.remedy.endswith(".")


def test_first_batches_with_a_low_loss_by_chance() -> None:
    """Losses of a regression on noise with heavy tails, in batches of 8; its mean loss falls from 3.4 to 2.7."""
    losses = [1.16, 2.25, 0.99, 3.06, 3.18, 3.4, 6.41, 3.1, 4.23, 2.75]
    steps = (0, 1, 2, 4, 8, 16, 32, 64, 100, 199)
    course = dict(zip(steps, losses, strict=True))
    observations = training(steps, loss=course.get)
    assert "loss_diverges" not in rules_broken(observations)


def test_the_norm_that_is_clipped_is_above_the_limit() -> None:
    """Of most due steps; that of the last one may be below."""
    last = STEPS[-1]
    observations = training(
        gradient_norm=lambda step: 0.6 if step == last else 9.0, clip=1.0
    )
    (finding,) = findings(observations)
    assert (finding.rule, finding.value, finding.limit) == ("clipping", 9.0, 1.0)
    assert "their median norm is 9, the limit 1" in finding.message


def test_expected_loss_is_judged_beside_the_whole_loss() -> None:
    observations = training(losses=(), loss=lambda step: 9.0 / (1 + step))
    assert not rules_broken(observations)
    assert rules_broken(observations, expected_loss=2.0) == {"initial_loss": "fail"}
    assert not rules_broken(observations, expected_loss=8.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"has_gradient": False}, "no gradient"),
        ({"has_zero_gradient": True}, "gradient is zero"),
        ({"rate": 0.0}, "learning rate is zero"),
        ({"is_coarse": True}, "rounded away"),
        ({}, "the optimizer does not move it"),
    ],
)
def test_reasons_for_no_move_are_told_apart(
    changes: dict[str, Any], words: str
) -> None:
    (finding,) = [
        each
        for each in findings(training(params=still(**changes)))
        if each.rule == "unmoved"
    ]
    assert finding.where == "c.weight"
    assert words in finding.message


def test_scale_is_placed_where_it_jumps() -> None:
    jump = layers(3) | {f"later{place}": tanh(grad_norm=1.0) for place in range(3)}
    (finding,) = [
        each
        for each in findings(training(layers=jump))
        if each.rule == "gradient_scale"
    ]
    assert finding.where == "later0"
