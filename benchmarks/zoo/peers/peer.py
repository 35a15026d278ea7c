"""Peer: a package of others as a callback, and its alarms as findings."""

import re
from typing import Any

from lightning.pytorch import Callback, Trainer

Finding = dict[str, Any]

RULES = {
    "nonfinite": (r"\bnan\b", r"\binf\b", "non-?finite", "numerical"),
    "saturation": ("satur",),
    "dead_units": ("dead", "zero grad", "inactive", "activation collapse"),
    "gradient_scale": ("vanish", "explod", "explosion", "gradient_flow", "gradient"),
    "loss_diverges": ("diverg", "spike", "instab"),
    "loss_stalls": ("plateau", "stagna", "stall"),
    "update_high": ("update ratio too high", "large update", "excessive update"),
    "update_low": ("update ratio too low", "small update", "negligible update"),
    "input_scale": ("data range", "input", "data_anomaly"),
    "bias_before_norm": ("redundant bias",),
    "unmoved": ("no gradients", "no_grad", "unused", "zombie", "disconnected"),
}
"""Patterns in the alarms of others, by the rule that means the same; the first that matches counts."""


def rule_of(text: str) -> str:
    """Returns the rule that an alarm means; its own first words if none does."""
    lower = text.lower()
    for rule, words in RULES.items():
        if any(re.search(word, lower) for word in words):
            return rule
    return text[:30]


def finding(severity: str, text: str, where: str | None, step: int) -> Finding:
    """Returns an alarm in the form of HealthCheck's findings."""
    numbers = {"value": None, "limit": None, "message": text}
    steps = {"step": step, "last_step": step}
    return {"rule": rule_of(text), "severity": severity, "where": where or ""} | (
        steps | numbers
    )


class Peer(Callback):
    """Base of the adapters: what a training loop by hand would call."""

    def __init__(self) -> None:
        self.step = 0
        self.batch: Any = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        self.step, self.batch = batch_idx, batch

    def loss_of(self, outputs: Any) -> float:
        """Returns the loss of a step."""
        return float(outputs["loss"] if isinstance(outputs, dict) else outputs)

    def findings(self) -> list[Finding]:
        """Returns the alarms after the fit, the most severe first."""
        raise NotImplementedError
