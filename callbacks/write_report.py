"""Report of finished trainings: one page to look at and to send, and its twins for programs."""

import os
from collections.abc import Sequence
from pathlib import Path

from ._messages import InstrumentError
from .page.read_runs import read_runs
from .page.run import Run


def write_report(
    runs: str | Path | Sequence[str | Path],
    path: str | Path | None = None,
    hover: bool = False,
) -> Path:
    """Writes a report of some trainings, from their event files alone.

    The page has the verdict and its findings first, then losses, every layer at every step, distributions at the first
    and the last step and over time, curves over steps, saturation maps, and settings; several runs side by side. It is
    one file without any reference to another or to the network. Beside it are the same name with .json and .md, for
    programs, with stable names of rules, numbers and remedies.

    Args:
        runs: Folder with event files, or folders, or folders of such folders; also those of other projects.
        path: File of the page, .html; None = "report.html" in the folder of the run, or in the one that all share.
        hover: Whether curves over steps show layer, step and value under the mouse. Altair makes the charts, and the
            JavaScript of Vega, a megabyte, is in the page. Printed, and without JavaScript, the page is as without.

    Returns:
        The path of the page.

    Raises:
        ValueError: If a folder has no event files, the page is no .html, or what reads and draws is not installed:
            TensorBoard, matplotlib and, with `hover`, Altair and vl-convert-python.

    Example:
        >>> write_report([])
        Traceback (most recent call last):
        ...
        callbacks._messages.InstrumentError: runs is empty: give at least one folder with event files.
    """
    records = read_runs(runs)
    page = default_path(records) if path is None else Path(path)
    if page.suffix != ".html":
        raise InstrumentError(
            f"path must be a file that ends in .html, got {str(path)!r}"
        )
    text = html_of(records, hover)
    from .page.twin import as_json, as_markdown

    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    page.with_suffix(".json").write_text(as_json(records), encoding="utf-8")
    page.with_suffix(".md").write_text(as_markdown(records), encoding="utf-8")
    return page


def html_of(runs: Sequence[Run], hover: bool) -> str:
    """Returns the page as HTML.

    Raises:
        InstrumentError: If what draws it is not installed.
    """
    try:
        from .page.html import page_of
    except ImportError as error:
        raise InstrumentError(
            "The report is drawn by matplotlib, which is not installed: pip install matplotlib"
        ) from error
    try:
        return page_of(runs, hover)
    except ImportError as error:
        raise InstrumentError(
            f"hover=True draws with Altair and vl-convert-python, and {error.name} is not installed: "
            "pip install altair vl-convert-python"
        ) from error


def default_path(runs: Sequence[Run]) -> Path:
    """Returns the file of the page where none is given."""
    return Path(os.path.commonpath([run.folder for run in runs])) / "report.html"
