"""Table of finished trainings: a row of numbers each, and the settings that differ."""

from collections.abc import Sequence
from pathlib import Path

from .page.comparison import differing_settings, row_of
from .page.read_runs import read_runs
from .page.run_table import RunTable


def compare_runs(runs: str | Path | Sequence[str | Path]) -> RunTable:
    """Compares trainings by their event files: losses, saturation, dead units, verdicts, and settings that differ.

    Args:
        runs: Folder with event files, or folders, or folders of such folders; also those of other projects.

    Returns:
        A table, which prints as one, with `rows`, `differing_settings` and `to_markdown()`.

    Raises:
        ValueError: If no folder is given, one has no event files, or TensorBoard, which reads them, is not installed.
    """
    records = read_runs(runs)
    return RunTable([row_of(run) for run in records], differing_settings(records))
