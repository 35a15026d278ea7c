"""Verdicts of HealthCheck on sick and healthy trainings: what is found, where, and what is a false alarm.

    python benchmarks/verdicts.py                           the part to tune on, five seeds, about half an hour
    python benchmarks/verdicts.py --only dead_relu --seeds 1        the cases with that text in their names
    python benchmarks/verdicts.py --smallest                a few cases and steps, to see that it works
    python benchmarks/verdicts.py --part held-out           the part that no threshold was chosen on
    python benchmarks/verdicts.py --part unseen             the part that was written without knowledge of the rules
    python benchmarks/verdicts.py --harm                    losses of the faults beside those of the sound trainings
    python benchmarks/verdicts.py --seeds 1 --with torchmortem,torchdiag        other packages on the same cases

Needs scikit-learn, whose data sets most of the trainings learn (`pip install scikit-learn`).
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parents[1]))

from zoo.harm import harm_of, harm_table
from zoo.outcome import Outcome
from zoo.runs import Result, Run, execute, in_processes, titles
from zoo.split import PARTS
from zoo.tables import (
    LEGEND,
    case_table,
    comparison_table,
    false_alarm_table,
    healthy_table,
    missed_table,
    score_table,
)
from zoo.training import silence
from zoo.watchers import OURS, PEERS, is_installed

SMALLEST = "mlp_relu"
"""Text in the names of the cases of `--smallest`."""

FEW_STEPS = 250


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = options.add_argument
    add(
        "--part",
        choices=PARTS,
        default="tuning",
        dest="part",
        help="part of the models",
    )
    add("--seeds", type=int, default=5, help="seeds 1, 2, ... of each case")
    add("--only", metavar="PATTERN", help="text in the names of cases, or a pattern")
    add("--smallest", action="store_true", help="one seed, few cases and steps")
    add("--harm", action="store_true", help="losses, sick and sound, without a watcher")
    add("--with", metavar="NAMES", dest="peers", help=f"also {','.join(PEERS)}")
    add("--bare", action="store_true", help="also time the fits unwatched")
    add("--json", type=Path, metavar="FILE", help="also write the outcomes")
    add("--jobs", type=int, default=1, help="processes, of one thread each")
    return options


def runs_of(arguments: argparse.Namespace, watcher: str) -> list[Run]:
    """Returns the runs that the arguments ask for, seed by seed."""
    pattern = SMALLEST if arguments.smallest else arguments.only
    seeds = 1 if arguments.smallest else arguments.seeds
    steps = FEW_STEPS if arguments.smallest else None
    part = arguments.part
    return [
        Run(part, seed, title, watcher, steps, arguments.bare)
        for seed in range(1, seeds + 1)
        for title in titles(part, seed, pattern)
    ]


def report(console: Console, title: str, outcomes: list[Outcome]) -> None:
    """Prints all tables."""
    for table in (
        case_table(outcomes),
        healthy_table(outcomes),
        missed_table(outcomes),
        false_alarm_table(outcomes),
        score_table(title, outcomes),
    ):
        console.print(table)
        console.print()
    console.print(LEGEND)


def tracked(
    function: Callable[[Run], Result], runs: list[Run], jobs: int
) -> Iterable[Result]:
    """Runs all, with a progress bar in a terminal."""
    return track(
        in_processes(function, runs, jobs),
        "trainings",
        len(runs),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


def judge(console: Console, arguments: argparse.Namespace) -> None:
    """Runs the cases under HealthCheck, and prints and writes the outcomes."""
    outcomes = []
    for outcome in tracked(execute, runs_of(arguments, OURS), arguments.jobs):
        outcomes.append(outcome)
        if arguments.json:  # after each, for whoever stops the program early
            write(arguments.json, outcomes)
    report(console, f"HealthCheck, {arguments.part} part", outcomes)


def write(path: Path, outcomes: list[Outcome]) -> None:
    """Writes outcomes as JSON."""
    rows = [outcome.to_dict() for outcome in outcomes]
    path.write_text(json.dumps(rows, indent=1))


def compare(console: Console, arguments: argparse.Namespace) -> None:
    """Runs the same cases under HealthCheck and other packages, and prints the totals side by side."""
    columns: dict[str, list[Outcome]] = {}
    for watcher in (OURS, *arguments.peers.split(",")):
        if watcher != OURS and not is_installed(watcher):
            console.print(f"{watcher} is not installed: left out")
            continue
        runs = runs_of(arguments, watcher)
        columns[watcher] = list(tracked(execute, runs, arguments.jobs))
    console.print(comparison_table(columns))
    console.print(LEGEND)


def main() -> None:
    arguments = parser().parse_args()
    silence()
    console = Console(width=None if sys.stdout.isatty() else 200)
    if arguments.harm:
        runs = runs_of(arguments, "")
        harms = tracked(harm_of, runs, arguments.jobs)
        console.print(harm_table([harm for harm in harms if harm is not None]))
    elif arguments.peers:
        compare(console, arguments)
    else:
        judge(console, arguments)


if __name__ == "__main__":
    main()
