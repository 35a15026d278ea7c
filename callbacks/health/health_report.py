"""HealthReport: the verdict on a training and its findings."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from .finding import SEVERITIES, Finding
from .markdown import table_of

Verdict = Literal["ok", "warn", "fail"]

COLUMNS = ("severity", "rule", "where", "since step", "finding", "what to do")
"""Columns of the table of findings."""


@dataclass(frozen=True)
class HealthReport:
    """Findings of a training up to now.

    Attributes:
        findings: Most severe first, of those the earliest first.
        steps: Number of due steps that were judged.

    Example:
        >>> HealthReport().verdict
        'ok'
    """

    findings: tuple[Finding, ...] = ()
    steps: int = 0

    @property
    def verdict(self) -> Verdict:
        """The worst severity of all findings; notes never change it."""
        worst = max(
            (SEVERITIES.index(finding.severity) for finding in self.findings), default=0
        )
        return ("ok", "warn", "fail")[worst]  # type: ignore[return-value]

    @property
    def summary(self) -> str:
        """One sentence with the verdict, the number of findings and the first of them."""
        serious = [each for each in self.findings if each.severity != "note"]
        if not self.steps and not serious:
            return "health ok: no step was judged."
        if not serious:
            return f"health ok: nothing found in {self.steps} judged steps."
        first = serious[0]
        place = f" in {first.where}" if first.where else ""
        more = f" and {len(serious) - 1} more" if len(serious) > 1 else ""
        return (
            f"health {self.verdict}: {first.rule}{place} since step {first.step}{more}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns what `to_json` writes: verdict, summary, steps and findings."""
        return {
            "verdict": self.verdict,
            "summary": self.summary,
            "steps": self.steps,
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def to_json(self) -> str:
        """Returns the report as JSON; numbers that are not finite are null."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def to_markdown(self) -> str:
        """Returns the summary and a table of the findings."""
        if not self.findings:
            return f"{self.summary}\n"
        table = table_of(COLUMNS, [row_of(each) for each in self.findings])
        return f"{self.summary}\n\n{table}\n"


def row_of(finding: Finding) -> tuple[str, ...]:
    """Returns the cells of a finding, in the order of `COLUMNS`."""
    steps = str(finding.step)
    return (
        finding.severity,
        finding.rule,
        finding.where or "whole model",
        steps,
        finding.message,
        finding.remedy,
    )
