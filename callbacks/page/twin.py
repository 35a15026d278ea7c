"""The same report for programs: JSON and Markdown, with stable names of rules."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..health.finding import Finding, finite_or_none
from ..health.health_report import HealthReport
from .comparison import differing_settings, row_of
from .run import Run
from .run_table import RunTable


def as_json(runs: Sequence[Run]) -> str:
    """Returns the numbers, findings and settings of some runs as JSON; numbers that are not finite are null."""
    entries = [as_dict(run) for run in runs]
    contents = {"runs": entries, "differing_settings": differing_settings(runs)}
    return json.dumps(contents, indent=2, allow_nan=False, default=str)


def as_dict(run: Run) -> dict[str, Any]:
    """Returns one run in plain types."""
    row = {name: finite_or_none(value) for name, value in asdict(row_of(run)).items()}
    last = {
        tag: series.last
        for tag, series in run.numbers.items()
        if math.isfinite(series.last)
    }
    health = dict(run.health) if run.health is not None else None
    return {**row, "folder": run.folder, "health": health, "last": last}


def as_markdown(runs: Sequence[Run]) -> str:
    """Returns the table of runs, what differs between them, and their findings as Markdown."""
    table = RunTable([row_of(run) for run in runs], differing_settings(runs))
    parts = ["# Training report", table.to_markdown().rstrip()]
    for run in runs:
        parts += [f"## {run.name}", findings_of(run)]
    return "\n\n".join(parts) + "\n"


def findings_of(run: Run) -> str:
    """Returns the verdict and the findings of a run as Markdown."""
    if run.health is None:
        return run.summary
    findings = tuple(Finding(**each) for each in run.health["findings"])
    return HealthReport(findings, run.health["steps"]).to_markdown().rstrip()
