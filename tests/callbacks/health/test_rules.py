"""Tests of the rules: each has trainings that it must find and others that it must leave alone."""

import math
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

from callbacks.health.catalogue import NAMES, RULES
from callbacks.health.observation import Input, LossFunction, Nonfinite

DEAD = {4: np.ones(4, dtype=bool)}
HALF_DEAD = {4: np.array([True, True, True, False])}


def params(**changes: Any) -> Any:
    """Returns three weights, one of them changed."""
    return lambda step: {
        "a.weight": weight(step),
        "b.weight": weight(step),
        "c.weight": weight(step, **changes),
    }


def all_params(**changes: Any) -> Any:
    return lambda step: {
        name: weight(step, **changes) for name in ("a.weight", "b.weight")
    }


def still(**changes: Any) -> Any:
    """Returns weights of which one does not move."""
    values = {"fingerprint": (1.0, 1.0), "moved": False, "update_ratio": None}
    return params(**(values | changes))


def entropy(
    value: float = 2.3, classes: int = 10, **changes: Any
) -> tuple[LossFunction]:
    return (LossFunction("cross_entropy", classes, value=value, **changes),)


def rising(step: int) -> float:
    return 2.3 + step / 50


def flat(step: int) -> float:
    return 2.3 + 0.01 * math.sin(step)


def saturated_late(step: int) -> Any:
    return {"act": tanh(saturated=0.1 if step < 100 else 0.9)}


def halved(step: int) -> float:
    return 2.3 if step == 0 else 1.1


def down_to_chance(step: int) -> float:
    return 3.3 if step == 0 else 2.29


def rates(rate: Any, ratio: Any) -> Any:
    """Returns weights with a learning rate and an update ratio that depend on the step."""
    return lambda step: {
        name: weight(step, rate=rate(step), update_ratio=ratio(step)) for name in "abc"
    }


SICK: list[tuple[str, str, dict[str, Any]]] = [
    ("initial_loss", "fail", {"losses": entropy(27.0)}),
    ("initial_loss", "warn", {"losses": entropy(4.0)}),
    ("initial_loss", "fail", {"losses": entropy(3.0, classes=2)}),
    ("saturation", "fail", {"layers": {"act": tanh(saturated=0.7)}}),
    ("saturation", "warn", {"layers": {"act": tanh(saturated=0.4)}}),
    ("saturation", "warn", {"layers": saturated_late}),
    ("saturation", "fail", {"layers": {"act": tanh(kind="Sigmoid", saturated=0.9)}}),
    ("dead_units", "fail", {"layers": {"act": relu(dead=DEAD)}}),
    ("dead_units", "warn", {"layers": {"act": tanh(dead=HALF_DEAD)}}),
    ("dead_units", "warn", {"layers": {"act": relu(saturated=0.95)}}),
    ("activation_scale", "warn", {"layers": layers(4, 1 / 30)}),
    ("activation_scale", "fail", {"layers": layers(4, 3000)}),
    ("activation_scale", "warn", {"layers": layers(6, 1.5**5)}),
    ("activation_scale", "fail", {"layers": {"act": relu(std=300.0)}}),
    ("activation_scale", "warn", {"layers": {"act": relu(std=30.0)}}),
    ("activation_scale", "warn", {"params": params(kind="Embedding", std=30.0)}),
    ("gradient_scale", "warn", {"layers": layers(4, 30)}),
    ("gradient_scale", "warn", {"layers": layers(4, 50, is_in_block=True)}),
    ("gradient_scale", "fail", {"layers": layers(4, 1 / 300)}),
    ("update_high", "fail", {"params": all_params(update_ratio=-0.5), "loss": flat}),
    ("update_high", "warn", {"params": all_params(update_ratio=-0.5), "loss": halved}),
    (
        "update_high",
        "warn",
        {"params": rates(lambda step: 0.1, lambda step: -0.9 if step < 64 else -3)},
    ),
    ("update_high", "warn", {"params": all_params(update_ratio=-1.2)}),
    ("update_low", "warn", {"params": all_params(update_ratio=-5.5)}),
    ("update_low", "warn", {"params": params(update_ratio=-4.6)}),
    ("uneven_learning", "warn", {"params": params(update_ratio=-6.0)}),
    ("unmoved", "fail", {"params": still(has_gradient=False)}),
    ("unmoved", "fail", {"params": still(has_zero_gradient=True)}),
    ("unmoved", "fail", {"params": still()}),
    ("unmoved", "fail", {"params": still(is_coarse=True)}),
    ("unmoved", "fail", {"params": still(rate=0.0)}),
    ("unmoved", "fail", {"params": all_params(has_zero_gradient=True)}),
    ("dropout", "warn", {"dropped": {"drop": 0.98}}),
    ("nonfinite", "fail", {"nonfinite": Nonfinite("act", "NaN in act.")}),
    ("symmetry", "warn", {"params": params(equal_rows=1.0)}),
    ("batchnorm", "warn", {"in_eval_mode": {"norm": "BatchNorm1d"}}),
    ("batchnorm", "fail", {"normalized_rows": {"norm": 2}}),
    ("batchnorm", "warn", {"normalized_rows": {"norm": 3}}),
    ("eval_mode", "warn", {"in_eval_mode": {"drop": "Dropout"}}),
    ("input_scale", "warn", {"inputs": {"a": Input(120.0, 70.0)}}),
    ("input_scale", "warn", {"inputs": {"a": Input(0.0, 0.001)}}),
    ("input_scale", "warn", {"inputs": {"a": Input(0.0, 36.0)}}),
    ("input_scale", "fail", {"inputs": {"a": Input(0.5, 0.0)}}),
    ("low_precision", "warn", {"params": params(is_coarse=True)}),
    ("loss_diverges", "fail", {"loss": rising}),
    ("loss_diverges", "fail", {"loss": lambda step: -2.35}),
    ("loss_stalls", "warn", {"loss": flat}),
    ("loss_stalls", "warn", {"loss": down_to_chance, "losses": entropy(3.3)}),
    ("loss_input", "warn", {"losses": entropy(activation="softmax")}),
    ("loss_input", "fail", {"losses": entropy(is_normalized=False, mass=(3.0, 9.0))}),
    ("loss_input", "warn", {"losses": (LossFunction("mse_loss", is_broadcast=True),)}),
    ("output_activation", "warn", {"losses": entropy(activation="ReLU")}),
    ("linear_stack", "warn", {"stacked": (("a.weight", "b.weight"),)}),
    ("bias_before_norm", "note", {"biases_before_norms": ("a.bias",)}),
    ("optimizer_params", "fail", {"unoptimized": ("a.weight",)}),
    ("optimizer_params", "warn", {"foreign": 2}),
    ("optimizer_params", "warn", {"unregistered": ((4, 4), (4,))}),
    ("stale_gradients", "fail", {"params": params(leftover=0.1)}),
    ("unequal_ranks", "fail", {"params": params(copies=(1.0, 1.5))}),
    ("clipping", "note", {"gradient_norm": 9.0, "clip": 1.0}),
    ("clipping", "note", {"gradient_norm": 9.0, "clip": 1.0, "is_clipped": True}),
    ("clipping", "warn", {"gradient_norm": 9.0, "clip": 1.0, "is_clipped": False}),
    ("frozen", "note", {"params": params(trains=False)}),
]


@pytest.mark.parametrize(("rule", "severity", "changes"), SICK)
def test_a_rule_finds_what_is_sick(
    rule: str, severity: str, changes: dict[str, Any]
) -> None:
    assert rules_broken(training(**changes)).get(rule) == severity


def test_a_scaler_that_skips_every_tenth_step_is_found() -> None:
    observations = training(
        range(0, 4000, 100), uses_scaler=True, was_skipped=lambda step: step % 1000 == 0
    )
    assert rules_broken(observations) == {"scaler_skips": "warn"}


def test_every_rule_has_a_sick_training() -> None:
    assert {rule for rule, *_ in SICK} | {"scaler_skips"} == set(NAMES)


HEALTHY: dict[str, dict[str, Any]] = {
    "as it is": {},
    "no loss function": {"losses": ()},
    "regression": {"losses": (LossFunction("mse_loss", value=9.0),)},
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
