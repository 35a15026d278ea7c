"""Overview card: one number of every layer at every step as colors, and the scale of layers over depth."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from .run import Run, Series
from .svg import chart, run_color


class HeatMap(NamedTuple):
    """Panel of the card.

    Attributes:
        plot: First part of the tags.
        title: Title of the panel.
        limits: Lowest and highest number of the colors; None = those that there are, on a logarithmic scale.
    """

    plot: str
    title: str
    limits: tuple[float, float] | None = None


HEAT_MAPS = (
    HeatMap("activation_std", "std of activations"),
    HeatMap("activation_grad_std", "std of their gradients"),
    HeatMap("update_ratio", "log10 update : weight", (-5.0, -1.0)),
    HeatMap("saturation", "saturated", (0.0, 1.0)),
)

MOST_NAMES = 12
"""Layers whose names fit beside a panel."""


def overview_card(run: Run) -> str | None:
    """Draws the card of a run; None if it has none of the numbers."""
    maps = [each for each in HEAT_MAPS if run.of_plot(each.plot)]
    if not maps:
        return None
    rows = max(len(run.of_plot(each.plot)) for each in maps)
    height = min(1.1 + 0.16 * rows, 3.2)
    columns = min(len(maps), 2)
    lines = -(-len(maps) // columns)

    def draw(axes: Sequence[Axes]) -> None:
        for panel in axes[len(maps) :]:
            panel.set_visible(False)
        for panel, heat_map in zip(axes, maps, strict=False):
            draw_heat_map(panel, heat_map, run.of_plot(heat_map.plot))

    return chart(draw, (7.2, height * lines), (lines, columns))


def draw_heat_map(panel: Axes, heat_map: HeatMap, lines: Mapping[str, Series]) -> None:
    """Draws layers, the first at the top, by steps, each step as wide as any other."""
    steps, grid = as_grid(lines)
    if heat_map.limits is not None:
        scale: Normalize = Normalize(*heat_map.limits)
    else:
        positive = grid[np.isfinite(grid) & (grid > 0)]
        low, high = (positive.min(), positive.max()) if positive.size else (0.1, 1.0)
        scale = LogNorm(low / 1.01, high * 1.01)
    image = panel.pcolormesh(grid, cmap="viridis", norm=scale, rasterized=True)
    panel.invert_yaxis()
    panel.set_title(heat_map.title, loc="left")
    named = len(lines) <= MOST_NAMES
    panel.set_yticks(
        np.arange(len(lines)) + 0.5 if named else [],
        [shortened(name) for name in lines] if named else [],
        fontsize=7,
    )
    places = sorted({0, len(steps) // 2, len(steps) - 1})
    panel.set_xticks(
        [place + 0.5 for place in places], [f"{steps[place]}" for place in places]
    )
    panel.figure.colorbar(image, ax=panel, pad=0.02, aspect=12)


def as_grid(lines: Mapping[str, Series]) -> tuple[list[int], NDArray[np.float64]]:
    """Returns all steps, and `(layers, steps)` numbers, NaN where there is none."""
    steps = sorted({step for series in lines.values() for step in series.steps})
    columns = {step: column for column, step in enumerate(steps)}
    grid = np.full((len(lines), len(steps)), np.nan)
    for row, series in enumerate(lines.values()):
        for step, value in zip(*series, strict=True):
            grid[row, columns[step]] = value
    return steps, grid


def shortened(name: str) -> str:
    """Returns the end of a long name."""
    return name if len(name) <= 22 else f"…{name[-21:]}"


def depth_profile(runs: Sequence[Run]) -> str | None:
    """Draws the std of activations and of their gradients over depth, at the first and the last step of each run."""
    plots = ("activation_std", "activation_grad_std")
    if not any(len(run.of_plot(plot)) > 1 for run in runs for plot in plots):
        return None

    def draw(axes: Sequence[Axes]) -> None:
        for panel, plot in zip(axes, plots, strict=True):
            for number, run in enumerate(runs):
                lines = list(run.of_plot(plot).values())
                color = run_color(number)
                first = [series.values[0] for series in lines]
                last = [series.last for series in lines]
                panel.plot(first, "o:", ms=3, color=color)
                panel.plot(last, "o-", ms=3, color=color, label=run.name)
            panel.set_yscale("log")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.set_title(plot.replace("_", " "), loc="left")
            panel.set_xlabel("layer, first to last")
        axes[0].legend(fontsize=7)

    return chart(draw, (7.2, 2.6), (1, 2))
