"""Made-up observations for the rules of HealthCheck."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from callbacks.health.finding import Finding
from callbacks.health.judge import Judge
from callbacks.health.observation import (
    Input,
    Layer,
    LossFunction,
    Observation,
    Parameter,
)

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 100, 150, 200, 250, 300, 350)
"""Due steps of a made-up training."""


def tanh(**changes: Any) -> Layer:
    """Returns a healthy tanh layer."""
    values: dict[str, Any] = {
        "kind": "Tanh",
        "group": "Tanh",
        "std": 0.6,
        "grad_norm": 1e-3,
    }
    values |= {"saturated": 0.05, "dead": {4: np.zeros(4, dtype=bool)}, "examples": 32}
    return Layer(**(values | changes))


def relu(**changes: Any) -> Layer:
    """Returns a healthy ReLU layer: half of its outputs are zero."""
    values: dict[str, Any] = {"kind": "ReLU", "group": "ReLU", "saturated": 0.5}
    return tanh(**(values | {"is_switched": True} | changes))


def weight(step: int = 0, **changes: Any) -> Parameter:
    """Returns a healthy weight, which moves from step to step."""
    values: dict[str, Any] = {
        "kind": "Linear",
        "std": 0.1,
        "fingerprint": (float(step), 1.0),
    }
    values |= {"update_ratio": -2.8, "moved": True, "rate": 0.1}
    values |= {"equal_rows": 0.0, "leftover": 0.0}
    return Parameter(**(values | changes))


def layers(count: int, ratio: float = 1.0, **changes: Any) -> dict[str, Layer]:
    """Returns tanh layers whose scales differ by a ratio from the first to the last."""
    factors = np.geomspace(1, ratio, count)
    return {
        f"act{place}": tanh(std=0.6 * factor, grad_norm=1e-3 * factor, **changes)
        for place, factor in enumerate(factors.tolist())
    }


def observation(step: int = 0, **changes: Any) -> Observation:
    """Returns a healthy due step."""
    values: dict[str, Any] = {
        "loss": 0.5 + 2.0 / (1 + step / 20),
        "layers": {"act": tanh(), "relu": relu()},
        "params": {name: weight(step) for name in ("a.weight", "b.weight", "c.weight")},
        "inputs": {"a": Input(0.1, 1.0)},
        "losses": (LossFunction("cross_entropy", 10, value=2.35),),
    }
    return Observation(step, **(values | changes))


def training(steps: Iterable[int] = STEPS, **changes: Any) -> list[Observation]:
    """Returns a training, each step changed alike; a change may be a function of the step."""
    return [
        observation(
            step,
            **{
                name: value(step) if callable(value) else value
                for name, value in changes.items()
            },
        )
        for step in steps
    ]


def findings(observations: Sequence[Observation], **arguments: Any) -> list[Finding]:
    """Returns the findings of a training."""
    judge = Judge(**arguments)
    for each in observations:
        judge.judge(each)
    return list(judge.report.findings)


def rules_broken(
    observations: Sequence[Observation], **arguments: Any
) -> dict[str, str]:
    """Returns the severities of a training's findings by rule."""
    return {each.rule: each.severity for each in findings(observations, **arguments)}
