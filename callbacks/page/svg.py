"""Charts as SVG that follow the page: text stays text, and black and white are the page's colors, light or dark."""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, PAPER = "#010203", "#fcfdfe"
"""Colors that stand for the page's, and that nothing else has."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",  # equal charts are equal files
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "path.simplify": True,
}

RUN_COLORS = (
    *("#2f7ed8", "#e0762f", "#2a9d6f", "#c2477f", "#7b62d3"),
    *("#8a7a2b", "#0f9ba8", "#7d8590"),
)
"""Colors of runs: each is 3:1 and more from both white and near-black."""


def chart(
    draw: Callable[[Sequence[Axes]], None],
    size: tuple[float, float],
    panels: tuple[int, int] = (1, 1),
) -> str:
    """Draws a chart and returns it as SVG, without the state of pyplot.

    Args:
        draw: Draws onto the axes, one a panel, row by row.
        size: Width and height in inches.
        panels: Rows and columns.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(*panels, squeeze=False)
        draw(list(axes.flat))
        file = io.StringIO()
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    return for_page(file.getvalue())


def for_page(svg: str) -> str:
    """Returns an SVG without its XML header, as wide as its place, in the colors of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    referenced = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(
        r' id="([^"]+)"',
        lambda match: match[0] if match[1] in referenced else "",
        svg,
    )
    svg = svg.replace(INK, "currentColor").replace(PAPER, "var(--paper)")
    return re.sub(r"\s*\n\s*", "\n", svg)


def unique_ids(svg: str, prefix: str) -> str:
    """Returns an SVG whose ids are those of no other one on the page."""
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg)
    return svg.replace("url(#", f"url(#{prefix}-")


def run_color(number: int) -> str:
    """Returns the color of a run."""
    return RUN_COLORS[number % len(RUN_COLORS)]
