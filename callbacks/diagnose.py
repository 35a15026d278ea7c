"""diagnose: tries a model for a few steps, before its training, and says what is wrong."""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from torch import nn

from ._instrument import Number
from ._messages import InstrumentError
from .diagnosis import Diagnosis
from .health.course import Course
from .health.finding import SEVERITIES, Finding
from .health.health_report import HealthReport
from .health.loss_rules import expectations
from .health_check import HealthCheck
from .probe.measurements import Measurements
from .trial.layer_table import LayerTable
from .trial.trial import run_trial

NONFINITE = "NaN or Inf"
"""Words of a warning whose content is a finding as well."""

RISE = 1.5
"""Factor between medians of the loss that is a rise: a trial of random batches had at most 1.2 (120 seeds)."""

RISE_OF_ONE_BATCH = 3.0
"""The same, beside the loss of the first batch alone."""


def diagnose(
    model: nn.Module,
    data: Any = None,
    steps: int = 16,
    ignore: list[str] | None = None,
    expected_loss: float | None = None,
    accelerator: str = "auto",
    **trainer_arguments: Any,
) -> Diagnosis:
    """Tries a copy of a model for a few steps on its own data, and judges them by the rules of `HealthCheck`.

    Nothing is written, printed or changed: the weights, buffers, modes, hooks and gradients of the model, the random
    numbers of Python, NumPy and PyTorch, and the attributes and generators of the data are bit for bit those of before.
    Two things cannot be restored: an iterator that a dataset reads from once, and what the model itself does to files.

    The trial is automatic or manual optimization, as the model has it, on one device, without validation, loggers and
    `configure_callbacks`. `torch.compile` is left out, so that all layers can be observed.

    Args:
        model: LightningModule.
        data: LightningDataModule, or a training dataloader, or None where the model has `train_dataloader`.
        steps: Steps of the trial.
        ignore: As of `HealthCheck`: rules not to judge, or `"rule:pattern"` for places.
        expected_loss: Loss that an untrained model should have; None = ln C where it can be inferred.
        accelerator: That of the Trainer.
        **trainer_arguments: Further arguments of the Trainer that decide on a step: `max_epochs` or `max_steps` (of the
            whole training, for a schedule of the learning rate that depends on it), `precision`,
            `accumulate_grad_batches`, `gradient_clip_val`, ...

    Raises:
        ValueError: If an argument makes no sense, or the model cannot be copied; names the attribute.

    Example:
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> diagnosis = diagnose(BoringModel(), steps=2, accelerator="cpu")
        >>> [(row.layer, row.shape) for row in diagnosis.rows]
        [('layer', (1, 2))]
    """
    health = SilentHealthCheck(
        every_n_steps=1, figures=False, ignore=ignore, expected_loss=expected_loss
    )
    table = LayerTable()
    messages = run_trial(
        model, data, [health, table], steps, accelerator, **trainer_arguments
    )
    if table.latest_step is None:
        reason = " ".join(messages) or "the data has no batch, or no optimizer stepped."
        raise InstrumentError(f"nothing could be tried: {reason}")
    report = without_noise(health.report, table.losses)
    return Diagnosis(
        type(getattr(model, "_orig_mod", model)).__name__,
        report,
        table.rows(worst_severities(report.findings)),
        table.initial_loss,
        health.expectation,
        tuple(message for message in messages if NONFINITE not in message),
    )


class SilentHealthCheck(HealthCheck):
    """HealthCheck that prints nothing.

    Attributes:
        expectation: Loss of a model that knows nothing; None where that is not known.
    """

    expectation: float | None = None

    def record(self, measurements: Measurements) -> dict[str, Number]:
        numbers = super().record(measurements)
        if self._judged == 1:
            self.expectation = single_expectation(self._judge.course)
        return numbers

    def _print_report(self) -> None:
        pass


def single_expectation(course: Course) -> float | None:
    """Returns the loss of a model that knows nothing; None where there are several loss functions, or none."""
    expected = [loss for _, loss, _ in expectations(course)]
    return expected[0] if len(expected) == 1 else None


def without_noise(report: HealthReport, losses: Sequence[float]) -> HealthReport:
    """Returns a report without a rise of the loss that is none of the median over several batches.

    The loss of a single batch may be three times that of the first one, by chance.

    Args:
        report: Findings of a trial.
        losses: Loss of each step.
    """
    if has_risen(losses):
        return report
    findings = [
        finding
        for finding in report.findings
        if finding.rule != "loss_diverges" or (finding.value or 0) < 0
    ]
    return replace(report, findings=tuple(findings))


def has_risen(losses: Sequence[float]) -> bool:
    """True if the median loss of the last quarter of the steps is far above that of the first quarter, or the first.

    Example:
        >>> has_risen([1.0, 3.0, 1.0, 3.0, 1.0, 3.0]), has_risen([1.0, 1.1, 2.0, 4.0, 8.0, 16.0])
        (False, True)
    """
    if not all(map(math.isfinite, losses)):
        return True
    quarter = max(1, -(-len(losses) // 4))
    if len(losses) < 2 * quarter:
        return False
    last, first = median(losses[-quarter:]), median(losses[:quarter])
    return last > RISE * first or last > RISE_OF_ONE_BATCH * losses[0]


def worst_severities(findings: tuple[Finding, ...]) -> dict[str, str]:
    """Returns the worst severity of the warnings and failures by their place."""
    worst: dict[str, str] = {}
    for finding in sorted(findings, key=lambda each: SEVERITIES.index(each.severity)):
        if finding.severity != "note":
            worst[finding.where] = finding.severity
    return worst
