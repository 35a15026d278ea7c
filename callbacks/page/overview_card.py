"""Drawing of the overview card: one number of every layer at every step as colors, and the scale over depth."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import MaxNLocator

from .._card import PROFILES, Panel, panels_of, positive_limits, profile_of
from .run import Run
from .svg import chart, run_color

MOST_NAMES = 12
"""Layers whose names fit beside a panel."""


def overview_card(run: Run) -> str | None:
    """Draws the card of a run; None if it has none of the numbers."""
    panels = panels_of(run.numbers)
    if not panels:
        return None
    rows = max(len(panel.layers) for panel in panels)
    height = min(1.1 + 0.16 * rows, 3.2)
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)

    def draw(axes: Sequence[Axes]) -> None:
        for place in axes[len(panels) :]:
            place.set_visible(False)
        for place, panel in zip(axes, panels, strict=False):
            draw_panel(place, panel)

    return chart(draw, (7.2, height * lines), (lines, columns))


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Draws layers, the first at the top, by steps, each step as wide as any other."""
    scale = (LogNorm if panel.is_log else Normalize)(*panel.limits)
    image = axes.pcolormesh(panel.grid, cmap="viridis", norm=scale, rasterized=True)
    axes.invert_yaxis()
    axes.set_title(panel.title, loc="left")
    layers, steps = panel.layers, panel.steps
    named = len(layers) <= MOST_NAMES
    axes.set_yticks(
        np.arange(len(layers)) + 0.5 if named else [],
        [shortened(name) for name in layers] if named else [],
        fontsize=7,
    )
    places = sorted({0, len(steps) // 2, len(steps) - 1})
    axes.set_xticks(
        [place + 0.5 for place in places], [f"{steps[place]}" for place in places]
    )
    axes.figure.colorbar(image, ax=axes, pad=0.02, aspect=12)


def shortened(name: str) -> str:
    """Returns the end of a long name."""
    return name if len(name) <= 22 else f"…{name[-21:]}"


def depth_profile(runs: Sequence[Run]) -> str | None:
    """Draws the std of activations and of their gradients over depth, at the first and the last step of each run."""
    if not any(len(run.of_plot(plot)) > 1 for run in runs for plot in PROFILES):
        return None

    def draw(axes: Sequence[Axes]) -> None:
        for panel, plot in zip(axes, PROFILES, strict=True):
            profiles = [profile_of(run.numbers, plot) for run in runs]
            for number, (run, profile) in enumerate(zip(runs, profiles, strict=True)):
                color = run_color(number)
                panel.plot(profile.first, "o:", ms=3, color=color)
                panel.plot(profile.last, "o-", ms=3, color=color, label=run.name)
            values = [value for each in profiles for value in each.first + each.last]
            # Limits first: without them, matplotlib warns where no value is positive.
            panel.set_ylim(*positive_limits(np.array(values)))
            panel.set_yscale("log")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.set_title(plot.replace("_", " "), loc="left")
            panel.set_xlabel("layer, first to last")
        axes[0].legend(fontsize=7)

    return chart(draw, (7.2, 2.6), (1, 2))
