"""Diagnosis: the verdict on a model before its training, and a row of numbers a layer."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .health.finding import Finding
from .health.health_report import HealthReport, Verdict
from .health.markdown import table_of
from .report.number_text import compact, percent
from .trial.layer_row import LayerRow, finite_or_none
from .trial.text_table import colored, paragraph, terminal_width, text_table

if TYPE_CHECKING:
    from rich.text import Text

HEADER = (
    "layer",
    "class",
    "output",
    "mean",
    "std",
    "sat",
    "dead",
    "grad",
    "g:d",
    "upd",
    "verdict",
)
"""Columns of the table of layers, see `LayerRow`."""

LEGEND = (
    "mean, std: of the output; sat: saturated values, of ReLU its zeros; dead: units flat in all steps; grad: std of "
    "the output's gradient; g:d: std of the weight's gradient / of the weight; upd: log10 of update / weight"
)

MOST_ROWS = 60
"""Rows of the table in a terminal; of more, those with findings and others evenly spread."""

MOST_PLACES = 4
"""Places of a finding in a terminal."""

WIDE = 110
"""Characters of a line from which on the table has the classes."""


@dataclass(frozen=True)
class Diagnosis:
    """Verdict on a model, from a few steps of a copy.

    Attributes:
        model: Class name of the model.
        report: Findings of `HealthCheck` in these steps.
        rows: Numbers of each layer, in the order of the calls.
        initial_loss: Loss of the first batch, before any update; None of a model with several losses.
        expected_loss: Loss of a model that knows nothing; None where that is not known.
        messages: What could not be measured.

    Example:
        >>> Diagnosis("MLP", HealthReport(steps=16)).verdict
        'ok'
    """

    model: str
    report: HealthReport
    rows: tuple[LayerRow, ...] = ()
    initial_loss: float | None = None
    expected_loss: float | None = None
    messages: tuple[str, ...] = field(default=(), repr=False)

    @property
    def verdict(self) -> Verdict:
        """The worst severity of all findings, "ok", "warn" or "fail"."""
        return self.report.verdict

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Findings, the most severe first."""
        return self.report.findings

    def to_dict(self) -> dict[str, Any]:
        """Returns what `to_json` writes."""
        return {
            "model": self.model,
            **self.report.to_dict(),
            "initial_loss": finite_or_none(self.initial_loss),
            "expected_loss": finite_or_none(self.expected_loss),
            "layers": [row.to_dict() for row in self.rows],
            "messages": list(self.messages),
        }

    def to_json(self) -> str:
        """Returns the diagnosis as JSON; numbers that are not finite are null."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def to_markdown(self) -> str:
        """Returns the report, the losses, and a table of the layers."""
        table = table_of(HEADER, [cells_of(row) for row in self.rows])
        parts = [self.report.to_markdown().rstrip(), self._losses(), table]
        return "\n\n".join(parts) + "\n"

    def metrics(self) -> dict[str, str]:
        """Returns the few numbers in which diagnoses are compared, as text."""
        rules = dict.fromkeys(finding.rule for finding in self.report.findings)
        ratios = [row.update_ratio for row in self.rows]
        return {
            "verdict": self.verdict,
            "initial loss": _number(self.initial_loss),
            "expected loss": _number(self.expected_loss),
            "largest saturated": _fraction(_largest([r.saturated for r in self.rows])),
            "largest dead": _fraction(_largest([row.dead for row in self.rows])),
            "std, largest / smallest": _spread([row.std for row in self.rows]),
            "grad, largest / smallest": _spread([row.grad_std for row in self.rows]),
            "largest update, log10": _ratio(_largest(ratios)),
            "findings": ", ".join(rules) or "none",
        }

    def __str__(self) -> str:
        """Returns the tables as plain text that fits the terminal."""
        width = terminal_width()
        lines = paragraph(f"{self.model}: {self.report.summary}", width)
        lines += [*paragraph(self._losses(), width), "", *self._table(width)]
        lines += ["", *paragraph(LEGEND, width, "")]
        for group in same_findings(self.findings):
            lines += ["", *finding_lines(group, width)]
        for message in self.messages:
            lines += ["", *paragraph(f"note  {message}", width)]
        return "\n".join(lines)

    def __rich__(self) -> "Text":
        """Returns the same with colors, for rich."""
        return colored(str(self))

    def _losses(self) -> str:
        if self.initial_loss is None:
            return "no single loss"
        expected = ""
        if self.expected_loss is not None:
            expected = f", expected {_number(self.expected_loss)} of a model that knows nothing"
        return f"initial loss {_number(self.initial_loss)}{expected}"

    def _table(self, width: int) -> list[str]:
        shown = choose_rows(self.rows)
        rows = [cells_of(row) for row in shown]
        header: Sequence[str] = HEADER
        if width < WIDE:
            header = (HEADER[0], *HEADER[2:])
            rows = [(row[0], *row[2:]) for row in rows]
        lines = text_table(header, rows, width)
        hidden = len(self.rows) - len(shown)
        return [*lines, f"and {hidden} more layers: to_dict()"] if hidden else lines


def cells_of(row: LayerRow) -> tuple[str, ...]:
    """Returns the cells of a layer, in the order of `HEADER`."""
    return (
        row.layer,
        row.kind,
        "" if row.shape is None else "x".join(map(str, row.shape)),
        _number(_rounded_mean(row)),
        _number(row.std),
        _fraction(row.saturated),
        _fraction(row.dead),
        _number(row.grad_std),
        _number(row.grad_data),
        _ratio(row.update_ratio),
        row.verdict,
    )


def same_findings(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Groups the findings of one rule, severity and remedy, so that a model that does not move has few lines."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        key = finding.rule, finding.severity, finding.remedy
        groups.setdefault(key, []).append(finding)
    return list(groups.values())


def finding_lines(group: Sequence[Finding], width: int) -> list[str]:
    """Returns findings as text: severity, rule, places and step; message of the first, and remedy."""
    first = group[0]
    places = [finding.where or "the whole model" for finding in group]
    text = ", ".join(places[:MOST_PLACES])
    if len(places) > MOST_PLACES:
        text += f" and {len(places) - MOST_PLACES} more"
    head = f"{first.severity}  {first.rule} in {text}, since step {first.step}"
    lines = paragraph(head, width, "      ")
    for sentence in (first.message, first.remedy):
        lines += [f"      {line}" for line in paragraph(sentence, width - 6, "")]
    return lines


def choose_rows(rows: Sequence[LayerRow]) -> Sequence[LayerRow]:
    """Returns at most `MOST_ROWS` rows, of more those with findings first, in their order."""
    if len(rows) <= MOST_ROWS:
        return rows
    healthy = [number for number, row in enumerate(rows) if row.verdict == "ok"]
    sick = [number for number, row in enumerate(rows) if row.verdict != "ok"]
    room = max(MOST_ROWS - len(sick), 0)
    step = max(1, -(-len(healthy) // room)) if room else len(rows)
    chosen = {*sick[:MOST_ROWS], *healthy[::step][:room]}
    return [row for number, row in enumerate(rows) if number in chosen]


def _rounded_mean(row: LayerRow) -> float | None:
    """Returns the mean of the output; 0 where it is far below the standard deviation."""
    if row.mean is None or row.std is None:
        return row.mean
    return 0.0 if abs(row.mean) < row.std / 200 else row.mean


def _number(value: float | None) -> str:
    return "" if value is None else compact(value)


def _fraction(value: float | None) -> str:
    return "" if value is None else percent(value)


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _largest(values: Sequence[float | None]) -> float | None:
    return max(_finite(values), default=None)


def _finite(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _spread(values: Sequence[float | None]) -> str:
    positive = [value for value in _finite(values) if value]
    return compact(max(positive) / min(positive)) if positive else ""
