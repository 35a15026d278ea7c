"""Healthy trainings in which FlightRecorder would see a jump, for several thresholds.

    python benchmarks/jump_thresholds.py                     all healthy trainings of the zoo, about ten minutes
    python benchmarks/jump_thresholds.py --only lstm         those with that text in their names

Each training is recorded once, without a rule; rules are then judged on its losses and gradient norms.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from zoo.runs import cases_by_title
from zoo.split import PARTS
from zoo.training import build, fit, silence

from callbacks import FlightRecorder
from callbacks.recorder.jump import JumpRule

FACTORS = (2.0, 5.0, 10.0, 30.0)
DEVIATIONS = (2.5, 6.0, 10.0, 15.0)
SEED = 1
ALL_STEPS = 10_000
NUMBERS = ("loss", "gradient norm")

Series = Mapping[str, Sequence[float]]
"""Losses and gradient norms of a training, by `NUMBERS`."""


class Keep(Callback):
    """Keeps the numbers of a recorder, which lets go of them at the end of its fit."""

    def __init__(self, recorder: FlightRecorder) -> None:
        self.recorder = recorder
        self.series: Series = {}

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        recording = self.recorder._recording
        if recording is None:
            return
        numbers = recording.numbers()
        norms = [each.grad_norm for each in numbers if each.grad_norm is not None]
        losses = [loss for each in numbers for loss in each.losses]
        self.series = dict(zip(NUMBERS, (losses, norms), strict=True))


def series_of(part: Any, title: str) -> Series:
    """Trains once, and returns its losses and gradient norms."""
    with tempfile.TemporaryDirectory() as folder:
        recorder = FlightRecorder(
            steps=ALL_STEPS,
            loss_factor=None,
            gradient_factor=None,
            dirpath=folder,
            figures=False,
        )
        keep = Keep(recorder)
        training = build(cases_by_title(part, SEED)[title].make, SEED)
        fit(training, [keep, recorder], None)
    return keep.series


def has_jump(values: Iterable[float], factor: float, deviations: float) -> bool:
    """True if a rule sees a jump among some numbers."""
    rule = JumpRule(factor, deviations)
    jumps = [rule.judge(value) for value in values]
    return any(jumps)


def table_of(trainings: Sequence[Series]) -> Table:
    """Returns how many trainings have a jump, by threshold."""
    header = [f"{deviations:g} deviations" for deviations in DEVIATIONS]
    table = Table("number", "factor", *header, box=None, pad_edge=False)
    for name in NUMBERS:
        for factor in FACTORS:
            counts = [
                sum(has_jump(each.get(name, ()), factor, limit) for each in trainings)
                for limit in DEVIATIONS
            ]
            table.add_row(name, f"{factor:g}", *map(str, counts))
    return table


def main() -> None:
    """Prints the table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--only", default="", help="text in the names of trainings")
    only = options.parse_args().only
    silence()
    healthy = [
        (part, title)
        for part in PARTS
        for title, case in cases_by_title(part, SEED).items()
        if case.kind == "healthy" and only in title
    ]
    console = Console(stderr=True)
    trainings = [series_of(*each) for each in track(healthy, console=console)]
    console = Console()
    console.print(f"{len(trainings)} healthy trainings; of these have a jump:")
    console.print(table_of(trainings))


if __name__ == "__main__":
    main()
