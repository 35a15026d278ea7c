"""Made-up trainings that break the rules of HealthCheck."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from made_up_steps import STEPS, layers, relu, tanh, weight

from callbacks.health.observation import Input, LossFunction, Nonfinite, Targets

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


def error(value: float = 2.0, name: str = "mse_loss", **changes: Any) -> Any:
    """Returns a mean squared error, with standardized targets unless they are changed."""
    targets = {"mean": 0.0, "std": 1.0, "low": -2.5, "high": 2.5}
    kept = {key: changes.pop(key) for key in targets if key in changes}
    function = LossFunction(name, value=value, targets=Targets(**targets | kept))
    return (replace(function, **changes),)


def endless(step: int) -> float:
    return 2.3 - step**2


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


class Sick(NamedTuple):
    """A training that breaks a rule.

    Attributes:
        rule: Name of the rule.
        severity: Severity of its finding.
        changes: Arguments of `training`.
        case: Words of callbacks/README.md for a fact that has a severity of its own; "" = the rule's usual one.
        steps: Due steps.
    """

    rule: str
    severity: str
    changes: dict[str, Any]
    case: str = ""
    steps: Iterable[int] = STEPS


FALLEN = "a warning where the loss has fallen by a fifth"
LASTING = "a warning where the loss has fallen by a fifth, after 4 due steps"
LATE = "after step 64 a warning where the loss has fallen by a fifth"
FIRST = "a warning in the first 5 due steps"
BLIND = "a parameter in no optimizer and without gradient, or a bias that the loss does not depend on"
ALONE = "foreign or unregistered ones alone"

SICK: list[Sick] = [
    Sick("initial_loss", "fail", {"losses": entropy(27.0)}),
    Sick("initial_loss", "warn", {"losses": entropy(4.0)}),
    Sick("initial_loss", "fail", {"losses": entropy(3.0, classes=2)}),
    Sick(
        "initial_loss",
        "warn",
        {"losses": error(600.0), "loss": lambda step: 600 / (1 + step)},
    ),
    Sick("saturation", "fail", {"layers": {"act": tanh(saturated=0.7)}}),
    Sick("saturation", "warn", {"layers": {"act": tanh(saturated=0.4)}}),
    Sick("saturation", "fail", {"layers": saturated_late, "loss": flat}),
    Sick("saturation", "warn", {"layers": saturated_late}, LATE),
    Sick(
        "saturation", "fail", {"layers": {"act": tanh(kind="Sigmoid", saturated=0.9)}}
    ),
    Sick("dead_units", "fail", {"layers": {"act": relu(dead=DEAD)}, "loss": flat}),
    Sick("dead_units", "warn", {"layers": {"act": relu(dead=DEAD)}}, FALLEN),
    Sick("dead_units", "warn", {"layers": {"act": tanh(dead=HALF_DEAD)}}),
    Sick("dead_units", "warn", {"layers": {"act": relu(saturated=0.95)}}),
    Sick("activation_scale", "warn", {"layers": layers(4, 1 / 30)}),
    Sick("activation_scale", "fail", {"layers": layers(4, 3000)}),
    Sick("activation_scale", "warn", {"layers": layers(6, 1.5**5)}),
    Sick("activation_scale", "fail", {"layers": {"act": relu(std=300.0)}}),
    Sick("activation_scale", "warn", {"layers": {"act": relu(std=30.0)}}),
    Sick("activation_scale", "warn", {"params": params(kind="Embedding", std=30.0)}),
    Sick("gradient_scale", "warn", {"layers": layers(4, 30)}),
    Sick("gradient_scale", "warn", {"layers": layers(4, 50, is_in_block=True)}),
    Sick("gradient_scale", "fail", {"layers": layers(4, 1 / 300)}),
    Sick(
        "update_high", "fail", {"params": all_params(update_ratio=-0.5), "loss": flat}
    ),
    Sick(
        "update_high",
        "warn",
        {"params": all_params(update_ratio=-0.5), "loss": halved},
        LASTING,
    ),
    Sick(
        "update_high",
        "warn",
        {
            "params": rates(lambda step: 0.1, lambda step: -0.5 if step < 16 else -3),
            "loss": flat,
        },
        FIRST,
    ),
    Sick(
        "update_high",
        "warn",
        {
            "params": rates(lambda step: 0.1, lambda step: -0.9 if step < 64 else -3),
            "loss": rising,
        },
    ),
    Sick("update_high", "warn", {"params": all_params(update_ratio=-1.2)}),
    Sick(
        "update_high",
        "warn",
        {"params": rates(lambda step: 0.1, lambda step: -0.4 if step < 16 else -3)},
    ),
    Sick("update_low", "warn", {"params": all_params(update_ratio=-5.5)}),
    Sick("update_low", "warn", {"params": params(update_ratio=-4.6)}),
    Sick(
        "update_low",
        "warn",
        {
            "params": rates(lambda step: 0.1 if step < 50 else 1e-6, lambda step: -3.0),
            "progress": lambda step: (step + 1) / 400,
        },
    ),
    Sick("uneven_learning", "warn", {"params": params(update_ratio=-6.0)}),
    Sick("unmoved", "fail", {"params": still(has_gradient=False)}),
    Sick("unmoved", "fail", {"params": still(has_zero_gradient=True)}),
    Sick("unmoved", "fail", {"params": still()}),
    Sick("unmoved", "fail", {"params": still(is_coarse=True)}),
    Sick("unmoved", "fail", {"params": still(rate=0.0)}),
    Sick("unmoved", "fail", {"params": all_params(has_zero_gradient=True)}),
    Sick("unmoved", "note", {"params": still(axes=1, has_zero_gradient=True)}, BLIND),
    Sick(
        "unmoved",
        "note",
        {"params": still(has_gradient=False), "unoptimized": ("c.weight",)},
        BLIND,
    ),
    Sick("dropout", "warn", {"dropped": {"drop": 0.98}}),
    Sick("nonfinite", "fail", {"nonfinite": Nonfinite("act", "NaN in act.")}),
    Sick("symmetry", "warn", {"params": params(equal_rows=1.0)}),
    Sick("symmetry", "warn", {"params": params(std=0.0, fingerprint=(0.05, 0.0))}),
    Sick(
        "batchnorm", "warn", {"in_eval_mode": {"norm": "BatchNorm1d"}}, "in eval mode"
    ),
    Sick("batchnorm", "fail", {"normalized_rows": {"norm": 2}}),
    Sick("batchnorm", "warn", {"normalized_rows": {"norm": 3}}),
    Sick("batchnorm", "fail", {"norms_of_one": {"norm": "LayerNorm"}}, "of one value"),
    Sick("eval_mode", "warn", {"in_eval_mode": {"drop": "Dropout"}}),
    Sick("input_scale", "warn", {"inputs": {"a": Input(120.0, 70.0)}}),
    Sick("input_scale", "warn", {"inputs": {"a": Input(0.0, 0.001)}}),
    Sick("input_scale", "warn", {"inputs": {"a": Input(0.0, 36.0)}}),
    Sick("input_scale", "fail", {"inputs": {"a": Input(0.5, 0.0)}}, "constant"),
    Sick("input_scale", "warn", {"losses": error(mean=2e5, std=8e4)}),
    Sick("low_precision", "warn", {"params": params(is_coarse=True)}),
    Sick("loss_diverges", "fail", {"loss": rising}),
    Sick("loss_diverges", "warn", {"loss": lambda step: 2.3 + min(step, 100) / 50}),
    Sick("loss_diverges", "fail", {"loss": lambda step: -2.35}),
    Sick("loss_diverges", "warn", {"loss": endless}, "falls without end"),
    Sick("loss_stalls", "warn", {"loss": flat}),
    Sick("loss_stalls", "warn", {"loss": down_to_chance, "losses": entropy(3.3)}),
    Sick("loss_input", "warn", {"losses": entropy(activation="softmax")}),
    Sick(
        "loss_input",
        "fail",
        {"losses": entropy(is_normalized=False, mass=(3.0, 9.0))},
        "raw logits in nll_loss",
    ),
    Sick(
        "loss_input", "warn", {"losses": (LossFunction("mse_loss", is_broadcast=True),)}
    ),
    Sick("output_activation", "warn", {"losses": entropy(activation="ReLU")}),
    Sick("output_activation", "warn", {"losses": error(activation="ReLU")}),
    Sick("output_activation", "warn", {"losses": error(activation="sigmoid")}),
    Sick("output_activation", "warn", {"losses": error(activation="Tanh", std=3.0)}),
    Sick("linear_stack", "warn", {"stacked": (("a.weight", "b.weight"),)}),
    Sick("bias_before_norm", "note", {"biases_before_norms": ("a.bias",)}),
    Sick("optimizer_params", "fail", {"unoptimized": ("a.weight",)}),
    Sick("optimizer_params", "warn", {"foreign": 2}, ALONE),
    Sick("optimizer_params", "fail", {"foreign": 2, "unoptimized": ("a.weight",)}),
    Sick("optimizer_params", "warn", {"unregistered": ((4, 4), (4,))}, ALONE),
    Sick("stale_gradients", "fail", {"params": params(leftover=0.1)}),
    Sick("unequal_ranks", "fail", {"params": params(copies=(1.0, 1.5))}),
    Sick(
        "scaler_skips",
        "warn",
        {"uses_scaler": True, "was_skipped": lambda step: step % 1000 == 0},
        steps=range(0, 4000, 100),
    ),
    Sick("clipping", "note", {"gradient_norm": 9.0, "clip": 1.0}),
    Sick("clipping", "note", {"gradient_norm": 9.0, "clip": 1.0, "is_clipped": True}),
    Sick(
        "clipping",
        "warn",
        {"gradient_norm": 9.0, "clip": 1.0, "is_clipped": False},
        case="larger norms that are not clipped",
    ),
    Sick("frozen", "note", {"params": params(trains=False)}),
]
