"""Charts of distributions, over layers and over time."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ..probe.selection import evenly_spread
from .curves import shade
from .run import Distribution, Run
from .svg import chart

T = TypeVar("T")

RIDGES = 12
"""Steps of a chart over time."""

MOST_LAYERS = 8
"""Layers of a chart whose lines have to be told apart."""

CELLS, TAIL = 24, 0.002
"""Cells of a density, and the fraction of the values at each end that it leaves out."""


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
