"""The page: one HTML file with everything in it, from a template."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from .comparison import differing_settings, numbers_of, row_of
from .figures import card_of, figures_of, figures_of_all
from .run import Run

BADGES = {"ok": "ok", "warn": "warn", "fail": "fail"}
"""Class of the style sheet by verdict."""


def page_of(runs: Sequence[Run]) -> str:
    """Returns the page of some runs as HTML, without any reference to other files or the network."""
    from jinja2 import Environment  # comes with PyTorch

    folder = files(__name__.rpartition(".")[0])
    environment = Environment(autoescape=True, trim_blocks=True)
    template = environment.from_string((folder / "page.html.jinja").read_text("utf-8"))
    rows = [numbers_of(row_of(run)) for run in runs]
    return template.render(
        title=title_of(runs),
        style=(folder / "page.css").read_text("utf-8"),
        columns=list(rows[0]),
        rows=[list(row.values()) for row in rows],
        differences=differing_settings(runs),
        figures=figures_of_all(runs),
        runs=[section_of(run, f"run{number}") for number, run in enumerate(runs)],
    )


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
