"""Markdown page of a bundle: what was out of line first, where, and how to run that step again."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ..health.markdown import table_of
from .rows import Numbers

LAST_STEPS = 10
MOST_ROWS = 12
"""Layers and parameters in a table."""


def page_of(
    facts: Mapping[str, Any], numbers: Sequence[Numbers], has_picture: bool, path: str
) -> str:
    """Returns the page.

    Args:
        facts: Contents of `bundle.json`.
        numbers: Numbers of the last steps, ascending.
        has_picture: Whether the bundle has a picture.
        path: Path of the bundle, for the commands.
    """
    first, trigger = facts["first"], facts["trigger"]
    sections = [
        f"# Step {first['step']}: {TITLES[trigger['kind']]}",
        f"**{first['message']}**",
        _how_it_was_noticed(first, trigger),
        "![the last steps](ring.png)" if has_picture else "",
        f"## The last steps\n\n{steps_table(numbers)}",
        tables_of_step(numbers, first["step"]),
        f"## What is kept\n\n{_contents(facts)}",
        f"## Run the step again\n\n{_commands(path)}",
        f"## Versions\n\n{_versions(facts)}",
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


TITLES = {
    "nonfinite": "NaN or Inf",
    "jump": "a jump",
    "exception": "training raised",
}


def _how_it_was_noticed(first: Mapping[str, Any], trigger: Mapping[str, Any]) -> str:
    return "" if trigger["message"] == first["message"] else trigger["message"]


def steps_table(numbers: Sequence[Numbers]) -> str:
    """Returns a table of the last steps."""
    rows = [
        (
            str(each.step),
            number(each.loss),
            number(each.grad_norm),
            number(each.clipped),
            ", ".join(map(number, each.learning_rates)),
        )
        for each in numbers[-LAST_STEPS:]
    ]
    header = ("step", "loss", "gradient norm", "after clipping", "learning rate")
    return table_of(header, rows)


def tables_of_step(numbers: Sequence[Numbers], step: int) -> str:
    """Returns the tables of layers and parameters of one step."""
    of_step = [each for each in numbers if each.step == step]
    before = [each for each in numbers if each.step < step]
    if not of_step:
        return ""
    outputs = beside(of_step[0].magnitudes, [each.magnitudes for each in before])
    gradients = beside(of_step[0].gradients, [each.gradients for each in before])
    tables = [
        _table_of(f"Largest magnitude of outputs in step {step}", "layer", outputs),
        _table_of(f"Gradient norms in step {step}", "parameter", gradients),
    ]
    return "\n\n".join(table for table in tables if table)


Beside = tuple[str, float, float | None]


def beside(
    values: Mapping[str, float], before: Sequence[Mapping[str, float]]
) -> list[Beside]:
    """Returns the name, the number, and the median of the steps before, of each layer or parameter."""
    rows = []
    for name, value in values.items():
        past = [
            each[name] for each in before if math.isfinite(each.get(name, math.nan))
        ]
        rows.append((name, value, median(past) if past else None))
    return rows


def _table_of(title: str, kind: str, rows: Sequence[Beside]) -> str:
    """Returns the rows that are the most out of line, in their own order."""
    if not rows:
        return ""
    worst = sorted(rows, key=factor, reverse=True)[:MOST_ROWS]
    cells = [
        (f"`{row[0]}`", number(row[1]), number(row[2]), number(factor(row)))
        for row in rows
        if row in worst
    ]
    header = (kind, "number", "median before", "factor")
    more = "" if len(cells) == len(rows) else f" (the {MOST_ROWS} most out of line)"
    return f"## {title}{more}\n\n{table_of(header, cells)}"


def factor(row: Beside) -> float:
    """Returns a number as a multiple of the median before; infinite where it is not finite."""
    _, value, usual = row
    if not math.isfinite(value):
        return math.inf
    return value / usual if usual else 1.0


def _contents(facts: Mapping[str, Any]) -> str:
    state, batches = facts["state"], facts["batches"]
    lines = [
        "- `ring.csv`: loss, gradient norms, learning rates, outputs and gradients of the last steps.",
        f"- `batches.pt`: {len(batches)} batches with the random states before them, "
        f"of steps {batches[0]['step']} to {batches[-1]['step']}."
        if batches
        else "- No batch was kept.",
    ]
    if state["step"] is not None:
        lines.append(
            f"- `state.pt`: parameters, buffers and optimizers from before step {state['step']}."
        )
    else:
        lines.append(f"- No state: {state['reason']}")
    if any(batch["is_changed"] for batch in batches):
        lines.append(
            "- The training step changes its batch in place: the batch is not the one that it began with."
        )
    if facts["not_written"]:
        lines.append(
            f"- Objects of classes that cannot be written stand there as texts: `{'`, `'.join(facts['not_written'])}`."
        )
    return "\n".join(lines)


def _commands(path: str) -> str:
    return (
        f"```\npython train.py replay {path}\n```\n\nor, in any project:\n\n"
        f'```python\nfrom callbacks import replay\n\nprint(replay("{path}", model))\n```'
    )


def _versions(facts: Mapping[str, Any]) -> str:
    versions = {**facts["versions"], "device": facts["device"]}
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def number(value: float | None) -> str:
    """Returns a number for a table.

    Example:
        >>> number(0.000123456), number(float("nan")), number(None)
        ('0.0001235', 'nan', '')
    """
    return "" if value is None else f"{value:.4g}"
