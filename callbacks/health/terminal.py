"""Table of findings in a terminal."""

import shutil
import sys
import textwrap
from importlib.util import find_spec

from .health_report import HealthReport

COLORS = {"fail": "red", "warn": "yellow", "note": "dim", "ok": "green"}

WIDTH = 78
"""Columns of the plain text."""

TABLE_WIDTH = 110
"""Columns of a terminal from which on a table is easier to read than plain text."""


def print_report(report: HealthReport) -> None:
    """Prints the verdict and the findings: what is wrong, where it began, since when, and what to do.

    Printed by rich where that is installed and the terminal is wide, else as plain text. A healthy training gets
    one line.
    """
    is_wide = sys.stdout.isatty() and shutil.get_terminal_size().columns >= TABLE_WIDTH
    if report.findings and is_wide and find_spec("rich") is not None:
        _print_table(report)
    else:
        print(plain_text(report))


def plain_text(report: HealthReport) -> str:
    """Returns the summary and, for each finding, its place, steps, message and remedy."""
    lines = [report.summary]
    for finding in report.findings:
        place = finding.where or "whole model"
        lines.append(
            f"{finding.severity:4}  {finding.rule} in {place}, steps {finding.step} to {finding.last_step}"
        )
        for text in (finding.message, f"-> {finding.remedy}"):
            indent = " " * 6
            lines += textwrap.wrap(
                text, WIDTH, initial_indent=indent, subsequent_indent=indent
            )
    return "\n".join(lines)


def _print_table(report: HealthReport) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(report.summary, COLORS[report.verdict]), title_justify="left"
    )
    for column in ("", "rule", "where", "steps", "finding and remedy"):
        table.add_column(column, overflow="fold")
    for finding in report.findings:
        steps = f"{finding.step}-{finding.last_step}"
        text = Text(finding.message).append(f"\n{finding.remedy}", "italic")
        table.add_row(
            Text(finding.severity, COLORS[finding.severity]),
            Text(finding.rule),
            Text(finding.where or "whole model"),
            Text(steps),
            text,
        )
    Console().print(table)
