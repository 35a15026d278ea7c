"""Charts of the report: losses of all runs, distributions over layers and over time, and update ratios."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from .._healthy import UPDATE_RATIOS
from ..probe.selection import evenly_spread
from .losses import losses_of
from .run import Distribution, Run
from .svg import INK, chart, run_color

T = TypeVar("T")

RIDGES = 12
"""Steps of a chart over time."""

MOST_LAYERS = 8
"""Layers of a chart whose lines have to be told apart."""

FEW_LINES = 4
"""Lines whose legend fits into a chart."""

CELLS, TAIL = 24, 0.002
"""Cells of a density, and the fraction of the values at each end that it leaves out."""


def loss_chart(runs: Sequence[Run]) -> str:
    """Draws the losses of all runs, training solid and validation dashed."""

    def draw(axes: Sequence[Axes]) -> None:
        (plot,) = axes
        for number, run in enumerate(runs):
            for place, (tag, series) in enumerate(losses_of(run).items()):
                style = "--" if place else "-"
                label = f"{run.name}, {tag}" if len(runs) > 1 else tag
                plot.plot(*series, style, color=run_color(number), label=label)
        plot.set_xscale("symlog", linthresh=10)
        plot.set_xlim(left=0)
        plot.set_xlabel("step")
        plot.set_ylabel("loss")
        if len(plot.lines) <= FEW_LINES:
            plot.legend(fontsize=8)
        else:
            plot.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))

    return chart(draw, (7.2, 3.2))


def update_chart(run: Run) -> str:
    """Draws the update ratios of a run beside the healthy band."""
    lines = evenly(run.of_plot("update_ratio"))

    def draw(axes: Sequence[Axes]) -> None:
        (plot,) = axes
        low, usual, high = UPDATE_RATIOS
        plot.axhspan(low, high, color="#2a9d6f", alpha=0.15, lw=0)
        plot.axhline(usual, color=INK, lw=0.8, ls="--")
        for number, (name, series) in enumerate(lines.items()):
            plot.plot(*series, color=shade(number, len(lines)), label=name)
        plot.set_xscale("symlog", linthresh=10)
        plot.set_xlim(left=0)
        plot.set_xlabel("step")
        plot.set_ylabel("log10 update : weight")
        plot.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))

    return chart(draw, (7.2, 2.8))


class Density(NamedTuple):
    """Curve of a distribution."""

    values: NDArray[np.float64]
    heights: NDArray[np.float64]


def density_of(distribution: Distribution) -> Density:
    """Returns the density over `CELLS` cells of equal width, without the outermost `TAIL` of the values at each end.

    The bins of event files are of many widths, and few values in a narrow one would be drawn as a spike.
    """
    edges, counts = np.asarray(distribution.edges), np.asarray(distribution.counts)
    below = np.concatenate([[0.0], counts.cumsum()]) / max(counts.sum(), 1)
    low, high = np.interp([TAIL, 1 - TAIL], below, edges)
    if low == high:
        return Density(np.array([low]), np.array([1.0]))
    cells = np.linspace(low, high, CELLS + 1)
    heights = np.diff(np.interp(cells, edges, below)) / np.diff(cells)
    return Density((cells[1:] + cells[:-1]) / 2, heights)


def distribution_chart(run: Run, plot: str, label: str) -> str:
    """Draws the distributions of all layers at the first and at the last step, side by side."""
    layers = evenly(distributions_of(run, plot))

    def draw(axes: Sequence[Axes]) -> None:
        for panel, place in zip(axes, (0, -1), strict=True):
            for number, (name, points) in enumerate(layers.items()):
                density = density_of(points[place])
                color = shade(number, len(layers))
                panel.plot(density.values, density.heights, color=color, label=name)
            steps = {points[place].step for points in layers.values()}
            panel.set_title(f"step {min(steps)}", loc="left")
            panel.set_xlabel(label)
            panel.locator_params(axis="x", nbins=4)
            panel.set_yticks([])
        axes[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))

    return chart(draw, (7.2, 2.6), (1, 2))


def ridge_chart(run: Run, plot: str) -> str:
    """Draws how the distribution of the first, the middle and the last layer changes over time."""
    layers = evenly(distributions_of(run, plot), 3)

    def draw(axes: Sequence[Axes]) -> None:
        for panel, (name, points) in zip(axes, layers.items(), strict=True):
            draw_ridges(panel, evenly_spread(points, RIDGES))
            panel.set_title(name, loc="left", fontsize=8)

    return chart(draw, (7.2, 3.0), (1, len(layers)))


def draw_ridges(panel: Axes, points: Sequence[Distribution]) -> None:
    """Draws distributions above each other, the first step at the bottom."""
    densities = [density_of(each) for each in points]
    heights = sorted(
        float(each.heights.max()) for each in densities if each.heights.size
    )
    # A spike, as of zeros, must not flatten all other curves.
    scale = heights[len(heights) // 2] if heights else 1.0
    for number, density in enumerate(densities):
        top = np.minimum(density.heights / scale, 2.5) * 1.8
        color = shade(number, len(densities))
        panel.fill_between(
            density.values, number, number + top, color=color, alpha=0.35, lw=0
        )
        panel.plot(density.values, number + top, color=color, lw=0.8)
    panel.set_yticks(
        range(len(points)), [f"{each.step:g}" for each in points], fontsize=7
    )
    panel.locator_params(axis="x", nbins=4)
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)


def distributions_of(run: Run, plot: str) -> dict[str, Sequence[Distribution]]:
    """Returns the histograms of a plot by layer or parameter, of those that have any."""
    start = f"{plot}/"
    return {
        tag.removeprefix(start): points
        for tag, points in run.distributions.items()
        if tag.startswith(start) and points
    }


def evenly(items: Mapping[str, T], most: int = MOST_LAYERS) -> dict[str, T]:
    """Returns at most so many items, evenly spread, the first and the last among them."""
    return {name: items[name] for name in evenly_spread(list(items), most)}


def shade(number: int, count: int) -> str:
    """Returns the color of a layer or a step, from blue to red."""
    return to_hex(colormaps["turbo"](0.08 + 0.84 * number / max(count - 1, 1)))
