"""Watchers: what judges a training, by name."""

import importlib.util
import io
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

from .training import Training, fit

Judged = tuple[str, list[dict[str, Any]]]
"""Verdict and findings, each finding with rule, severity, where, step, last_step, value, limit and message."""

Watcher = Callable[[Training, int | None], Judged]

EVERY_N_STEPS = 50
"""Cadence of the due steps of HealthCheck; the dense start is its default."""


def health_check(training: Training, steps: int | None) -> Judged:
    """Fits under HealthCheck with its defaults."""
    from callbacks import HealthCheck  # type: ignore[attr-defined]

    check = HealthCheck(every_n_steps=EVERY_N_STEPS, figures=False)
    with redirect_stdout(io.StringIO()):  # the report that it prints at the end
        fit(training, [check], steps)
    findings = [finding.to_dict() for finding in check.report.findings]
    return check.report.verdict, findings


WATCHERS: dict[str, Watcher] = {"HealthCheck": health_check}
"""HealthCheck, and other packages where they are installed."""


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
