"""Runs of cases under a watcher, one after the other or in several processes."""

import fnmatch
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from typing import TypeVar

from . import Case, cases_of
from .outcome import Outcome
from .split import Part
from .training import build, fit, silence
from .watchers import WATCHERS

Result = TypeVar("Result")


@dataclass(frozen=True)
class Run:
    """One run of a case.

    Attributes:
        part: Part that the case is of.
        seed: Seed of the run.
        title: Title of the case.
        watcher: Name of what watches it.
        steps: Most training batches; None = those of the case.
        bare: True also measures the fit without a watcher.
    """

    part: Part
    seed: int
    title: str
    watcher: str = "HealthCheck"
    steps: int | None = None
    bare: bool = False


@cache
def cases_by_title(part: Part, seed: int) -> dict[str, Case]:
    return {case.title: case for case in cases_of(part, seed)}


def titles(part: Part, seed: int, pattern: str | None) -> list[str]:
    """Returns the titles of the cases of a part that contain a text or match a pattern."""
    names = list(cases_by_title(part, seed))
    if pattern is None:
        return names
    return [name for name in names if pattern in name or fnmatch.fnmatch(name, pattern)]


def execute(run: Run) -> Outcome:
    """Runs a case under a watcher; an exception becomes the verdict "error"."""
    silence()
    case = cases_by_title(run.part, run.seed)[run.title]
    outcome = Outcome(case.kind, case.name, case.model.name, run.seed, "error")
    outcome.rules = sorted(case.rules)
    outcome.places = sorted(case.places)
    outcome.nan_steps = sorted(case.nan_steps)
    if run.bare:
        outcome.bare_seconds = bare_seconds(case, run)
    start = time.perf_counter()
    try:
        training = build(case.make, run.seed)
        outcome.verdict, outcome.findings = WATCHERS[run.watcher](training, run.steps)
    except Exception as error:
        outcome.error = f"{type(error).__name__}: {error}"
    outcome.seconds = time.perf_counter() - start
    return outcome


def bare_seconds(case: Case, run: Run) -> float:
    """Returns the time of a fit without a watcher."""
    start = time.perf_counter()
    fit(build(case.make, run.seed), [], run.steps)
    return time.perf_counter() - start


def in_processes(
    function: Callable[[Run], Result], runs: list[Run], jobs: int
) -> Iterator[Result]:
    """Yields the results of a function in the order of the runs."""
    if jobs == 1:
        yield from map(function, runs)
        return
    context = get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        yield from pool.map(function, runs)
