"""Overview of a fit: heat maps of all layers at all steps, and profiles over depth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from .canvas import TITLE_LINE, color, titled_figure

SMALL = 6.5
"""Points of the texts of a panel; 9 pixels of a card."""

MAP_MARGINS, PROFILE_MARGINS, PANEL_BOTTOM = (0.055, 0.105), (0.09, 0.02), 0.065
"""Room for ticks and scales on the left, the right and at the bottom of a panel, as fractions of the figure."""

NOTHING = "#d0d0d0"
"""Color of a cell without a number."""

Place = tuple[float, float, float, float]
"""Left, bottom, width and height, as fractions of the figure."""


def overview_figure(title: str, panels: Sequence[Mapping[str, Any]]) -> Figure:
    """Shows all layers at all steps: heat maps of one number each, and the scale of the layers over depth.

    Args:
        title: Title of the figure, of up to two lines.
        panels: Up to six. A heat map has "title", "grid" (`(layers, steps)` numbers, NaN where there is none), "steps"
            (the first and the last, as texts) and "limits" of its colors. A profile has "title", "first" and "last", a
            number a layer each, and "limits" of its axis. "labels" are the limits as texts.
    """
    figure, top = titled_figure(title)
    rows = 1 if len(panels) <= 3 else 2
    width, height = rows / (len(panels) + len(panels) % rows), top / rows
    for number, panel in enumerate(panels):
        column, row = divmod(number, rows)
        place = (column * width, top - (row + 1) * height, width, height)
        if "grid" in panel:
            _draw_heat_map(figure, place, panel)
        else:
            _draw_profile(figure, place, panel)
    return figure


def _panel_axes(
    figure: Figure, place: Place, title: str, margins: tuple[float, float]
) -> Axes:
    """Adds the axes of a panel, with margins on the left and the right, and room for its title and ticks."""
    left, bottom, width, height = place
    x0, y0 = left + margins[0], bottom + PANEL_BOTTOM
    size = (width - sum(margins), height - PANEL_BOTTOM - TITLE_LINE - 0.01)
    axes = figure.add_axes((x0, y0, *size))
    axes.tick_params(labelsize=SMALL, length=2, pad=1.5)
    top = y0 + size[1] + 0.012
    figure.text(left + MAP_MARGINS[0], top, title, fontsize=SMALL, va="bottom")
    return axes


def _draw_heat_map(figure: Figure, place: Place, panel: Mapping[str, Any]) -> None:
    axes = _panel_axes(figure, place, panel["title"], MAP_MARGINS)
    scale = Normalize(*panel["limits"])
    colors = colormaps["viridis"].with_extremes(bad=NOTHING)
    image = axes.imshow(
        panel["grid"], cmap=colors, norm=scale, interpolation="nearest", aspect="auto"
    )
    layers, steps = panel["grid"].shape
    _set_ends(axes.yaxis, (0, layers - 1), (1, layers))
    _set_ends(axes.xaxis, (-0.5, steps - 0.5), panel["steps"])
    box = axes.get_position()
    bar = figure.add_axes((box.x1 + 0.008, box.y0, 0.012, box.height))
    figure.colorbar(image, cax=bar)
    bar.tick_params(labelsize=SMALL, length=0, pad=1.5)
    _set_ends(bar.yaxis, panel["limits"], panel["labels"])


def _draw_profile(figure: Figure, place: Place, panel: Mapping[str, Any]) -> None:
    axes = _panel_axes(figure, place, panel["title"], PROFILE_MARGINS)
    layers = np.arange(len(panel["last"]))
    for style, values in ((":", panel["first"]), ("-", panel["last"])):
        line = axes.plot(layers, values, style, color=color(0, 2), lw=1)[0]
        line.set(marker=".", markersize=2.5, clip_on=False)
    _set_ends(axes.yaxis, panel["limits"], panel["labels"])
    axes.set_ylim(*panel["limits"])
    _set_ends(axes.xaxis, (0, len(layers) - 1), (1, len(layers)))


def _set_ends(axis: Axis, places: Sequence[float], labels: Sequence[Any]) -> None:
    """Marks the first and the last place of an axis; its labels do not run out of its ends."""
    count = 1 if places[0] == places[1] or labels[0] == labels[1] else 2
    axis.set_ticks(list(places[:count]), labels=[f"{each}" for each in labels[:count]])
    if isinstance(axis, XAxis) and count == 2:
        first, last = axis.get_ticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
