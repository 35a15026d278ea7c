"""Harm that a fault does: its losses beside those of the sound training of the same seed."""

import math
from dataclasses import dataclass
from statistics import mean

from rich.table import Table

from .runs import Run, cases_by_title
from .tables import new_table
from .training import LossRecord, Training, build, fit, silence

LAST = 30
"""Steps at the end whose mean loss is compared."""

LOST = 0.05
"""Part of the fall of the sound loss that must be missing for the end, or the way to it, to count as worse."""

HIGHER = 1.4
"""Ratio of the losses at initialization that counts as a harm."""


@dataclass(frozen=True)
class Harm:
    """Losses of a sound and a sick training.

    Attributes:
        title: Title of the case.
        silent: True if the case says that the loss need not show the fault.
        sound: Losses of the sound training.
        sick: Losses of the sick training.
    """

    title: str
    silent: bool
    sound: list[float]
    sick: list[float]

    @property
    def kind(self) -> str:
        """Kind of harm: nan, improper (a loss below zero), start, end, way, silent or none."""
        if not all(map(math.isfinite, self.sick)):
            return "nan"
        if min(self.sick) < 0 <= min(self.sound):
            return "improper"
        end, sick_end = mean(self.sound[-LAST:]), mean(self.sick[-LAST:])
        margin = LOST * (self.sound[0] - end)
        if sick_end > end + margin:
            return "end"
        if self.sick[0] > HIGHER * self.sound[0]:
            return "start"
        if mean(self.sick) > mean(self.sound) + margin:
            return "way"
        return "silent" if self.silent else "none"


def losses_of(training: Training, steps: int | None) -> list[float]:
    """Returns the loss of each step of a fit without a watcher."""
    record = LossRecord()
    fit(training, [record], steps)
    return record.losses


def harm_of(run: Run) -> Harm | None:
    """Fits a case and its sound training from the same seed; None if the case is healthy."""
    silence()
    case = cases_by_title(run.part, run.seed)[run.title]
    if case.kind == "healthy":
        return None
    sound = losses_of(build(case.model.make, run.seed), run.steps)
    sick = losses_of(build(case.make, run.seed), run.steps)
    return Harm(f"{run.title} {run.seed}", case.silent, sound, sick)


def harm_table(harms: list[Harm]) -> Table:
    """Returns a row a run with the first and the last losses."""
    columns = ("case and seed", "sound, first", "last", "sick, first", "last", "harm")
    table = new_table("Harm of faults and mutations", *columns)
    for each in harms:
        numbers = [each.sound[0], mean(each.sound[-LAST:])]
        numbers += [each.sick[0], mean(each.sick[-LAST:])]
        cells = [f"{number:.3g}" for number in numbers]
        table.add_row(each.title, *cells, each.kind)
    return table
