"""Comparison of two trainings step by step: the first step and layer at which they differ."""

from dataclasses import replace
from pathlib import Path

from ._messages import InstrumentError
from .page.diff import difference_of
from .page.read_runs import read_runs, short_names
from .page.run import Run
from .page.run_difference import RunDifference

TOLERANCE = 1e-5
"""Relative difference that rounding may make; see `diff_runs`."""


def diff_runs(
    first: str | Path, second: str | Path, tolerance: float = TOLERANCE
) -> RunDifference:
    """Compares the event files of two trainings, and names the first step and layer at which they differ.

    Numbers and histograms are compared at the steps that both runs have, in the order in which a step computes them:
    parameters, activations, loss, gradients from the last layer to the first, updates. The first that differs beyond
    the tolerance says where to look: at the initialization, the batch or the code of a layer, the loss, a backward
    pass, or the optimizer. Rounding errors that grow are told from runs that part at once.

    Args:
        first: Folder of a run, with event files.
        second: Folder of another.
        tolerance: Relative difference up to which values count as equal; gradients and updates may differ by 100 times
            as much. In a first step, other numbers of threads, other kernels and float64 beside float32 make up to
            4e-7 of activations and losses, and up to 6e-4 of gradients; bf16 makes 1e-4 to 4e-3, and up to 0.03.

    Returns:
        The comparison: `kind`, `message`, `step`, `where`, `tag`, `values`, `to_dict()`; printed, it is a table.

    Raises:
        ValueError: If a folder is not that of one run, the runs have no tag and step in common, or the tolerance is
            negative.

    Example:
        >>> diff_runs("runs/a", "runs/b", tolerance=-1.0)
        Traceback (most recent call last):
        ...
        callbacks._messages.InstrumentError: tolerance must be a number of 0 or more, got -1.0
    """
    if not tolerance >= 0:
        raise InstrumentError(
            f"tolerance must be a number of 0 or more, got {tolerance!r}"
        )
    runs = [single_run(folder) for folder in (first, second)]
    difference = difference_of(*named_apart(*runs), tolerance)
    if difference is None:
        raise InstrumentError(
            f"{first} and {second} have no tag in common at any step: give two runs of the same callbacks."
        )
    return difference


def single_run(folder: str | Path) -> Run:
    """Reads the run of a folder.

    Raises:
        InstrumentError: If it holds more than one.
    """
    run, *others = read_runs([folder])
    if others:
        raise InstrumentError(
            f"{folder} has {1 + len(others)} runs in it: give the folder of one, such as {run.folder}."
        )
    return run


def named_apart(first: Run, second: Run) -> tuple[Run, Run]:
    """Returns two runs under names that tell them apart, unless both are one folder."""
    folders = [Path(run.folder).resolve() for run in (first, second)]
    if folders[0] == folders[1]:
        return first, second
    names = short_names(folders)
    return replace(first, name=names[0]), replace(second, name=names[1])
