"""The page: one HTML file with everything in it, from a template."""

from collections.abc import Callable, Sequence
from importlib.resources import files
from itertools import chain
from typing import Any, NamedTuple

from .comparison import differing_settings, numbers_of, row_of
from .figures import PageFigure, card_of, figures_of, figures_of_all
from .run import Run

BADGES = {"ok": "ok", "warn": "warn", "fail": "fail"}
"""Class of the style sheet by verdict."""


class Vega(NamedTuple):
    """JavaScript and charts of a page that shows numbers under the mouse.

    Attributes:
        script: JavaScript.
        spec: Returns the chart of a figure as JSON.
    """

    script: str
    spec: Callable[[PageFigure], str]


def page_of(runs: Sequence[Run], hover: bool = False) -> str:
    """Returns the page of some runs as HTML, without any reference to other files or the network.

    Args:
        runs: Runs, side by side.
        hover: Whether curves over steps show numbers under the mouse; needs Altair.

    Raises:
        ImportError: If Altair or vl-convert-python is needed, and not installed.
    """
    from jinja2 import Environment  # comes with PyTorch

    folder = files(__name__.rpartition(".")[0])
    environment = Environment(autoescape=True, trim_blocks=True)
    template = environment.from_string((folder / "page.html.jinja").read_text("utf-8"))
    rows = [numbers_of(row_of(run)) for run in runs]
    figures = figures_of_all(runs)
    sections = [section_of(run, f"run{number}") for number, run in enumerate(runs)]
    return template.render(
        title=title_of(runs),
        style=(folder / "page.css").read_text("utf-8"),
        columns=list(rows[0]),
        rows=[list(row.values()) for row in rows],
        differences=differing_settings(runs),
        figures=figures,
        runs=sections,
        vega=vega_of([figures, *(each["figures"] for each in sections)], hover),
    )


def vega_of(figures: Sequence[Sequence[PageFigure]], hover: bool) -> Vega | None:
    """Returns the JavaScript and the charts of some figures; None of a page without."""
    if not hover:
        return None
    from .hover_chart import hover_spec, points_of_line, vega_script

    curves = [each.curves for each in chain(*figures) if each.curves is not None]
    if not curves:
        return None
    points = points_of_line(sum(len(each.lines) for each in curves))

    def spec(figure: PageFigure) -> str:
        assert figure.curves is not None
        return hover_spec(figure.curves, f"{figure.title}. {figure.text}", points)

    return Vega(vega_script(), spec)


def title_of(runs: Sequence[Run]) -> str:
    """Returns the title of the page."""
    if len(runs) == 1:
        return f"Training report: {runs[0].name}"
    return f"Training report: {len(runs)} runs"


def section_of(run: Run, prefix: str) -> dict[str, Any]:
    """Returns what the template shows of one run."""
    return {
        "name": run.name,
        "verdict": run.verdict,
        "badge": BADGES.get(run.verdict, "note"),
        "summary": run.summary,
        "findings": (run.health or {}).get("findings", []),
        "card": card_of(run, f"{prefix}-card"),
        "figures": list(figures_of(run, prefix)),
        "settings": run.settings,
    }
