"""Comparison of runs: a row of numbers each, and the settings that differ between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .losses import losses_of
from .run import Run

IRRELEVANT = ("logger", "checkpoint", "dirpath", "save_dir", "version", "ckpt_path")
"""Parts of the names of settings that say where files go, not how a model trains."""


@dataclass(frozen=True)
class RunRow:
    """One run in a table.

    Attributes:
        name: Name of the run.
        initial_loss: Loss before the first update; None if it was not logged.
        train_loss: Last loss of training.
        val_loss: Last loss of validation.
        saturated: Median over layers of the fraction of saturated values, at the last step.
        dead: Median over layers of the fraction of dead units, at the last step.
        steps: Last step of any number.
        verdict: That of `HealthCheck`.
    """

    name: str
    initial_loss: float | None
    train_loss: float | None
    val_loss: float | None
    saturated: float | None
    dead: float | None
    steps: int
    verdict: str


def row_of(run: Run) -> RunRow:
    """Returns the row of a run; numbers of the whole data set where the run has measured them at its end."""
    losses = list(losses_of(run).items())
    curves = [series for _, series in losses]
    begins = bool(curves) and curves[0].steps[0] == 0
    first = curves[0].values[0] if begins else None
    train = curves[0].last if curves else None
    val = curves[1].last if len(curves) > 1 else None
    steps = [series.steps[-1] for series in run.numbers.values()]
    return RunRow(
        run.name,
        last_of(run, "initial/loss", first),
        last_of(run, "final/train_loss", train),
        last_of(run, "final/val_loss", val),
        median_of_last(run, "saturation"),
        median_of_last(run, "dead_units"),
        max(steps, default=0),
        run.verdict,
    )


def last_of(run: Run, tag: str, otherwise: float | None) -> float | None:
    """Returns the last number of a tag."""
    return run.numbers[tag].last if tag in run.numbers else otherwise


def median_of_last(run: Run, plot: str) -> float | None:
    """Returns the median of a plot over layers, at the last step; None if it was not measured."""
    numbers = [series.last for series in run.of_plot(plot).values()]
    return median(numbers) if numbers else None


def differing_settings(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Returns the settings that are not the same in all runs, by name, a value a run; None where there is none."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return {
        name: values
        for name in names
        if not any(word in name for word in IRRELEVANT)
        and differ(values := [run.settings.get(name) for run in runs])
    }


def differ(values: Sequence[Any]) -> bool:
    """True if not all values are equal."""
    return any(value != values[0] for value in values[1:])


def numbers_of(row: RunRow) -> Mapping[str, str]:
    """Returns the cells of a row as text, by column."""
    return {
        "run": row.name,
        "steps": f"{row.steps}",
        "initial loss": as_text(row.initial_loss),
        "train": as_text(row.train_loss),
        "val": as_text(row.val_loss),
        "saturated": as_percent(row.saturated),
        "dead": as_percent(row.dead),
        "verdict": row.verdict,
    }


def as_text(number: float | None) -> str:
    """Returns a number with four digits behind the point; a dash where there is none."""
    return "-" if number is None else f"{number:.4f}"


def as_percent(number: float | None) -> str:
    """Returns a fraction in percent."""
    return "-" if number is None else f"{number:.1%}"
