"""Curves over steps, drawn by matplotlib."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from ..probe.selection import evenly_spread
from .curves import Curves
from .svg import INK, chart

MOST_LINES = 8
"""Lines of layers that can be told apart."""

FEW_LINES = 4
"""Lines whose legend fits into a chart."""


def curve_chart(curves: Curves) -> str:
    """Draws curves over steps; of many layers some, evenly spread, the first and the last among them."""
    is_of_runs = curves.name == "curve"
    lines = (
        curves.lines if is_of_runs else evenly_spread(list(curves.lines), MOST_LINES)
    )

    def draw(axes: Sequence[Axes]) -> None:
        (plot,) = axes
        if curves.band is not None:
            low, usual, high = curves.band
            plot.axhspan(low, high, color="#2a9d6f", alpha=0.15, lw=0)
            plot.axhline(usual, color=INK, lw=0.8, ls="--")
        for line in lines:
            style = "--" if line.is_dashed else "-"
            plot.plot(line.steps, line.values, style, color=line.color, label=line.name)
        set_scales(plot, curves)
        if is_of_runs and len(lines) <= FEW_LINES:
            plot.legend(fontsize=8)
        else:
            plot.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))

    return chart(draw, (7.2, 3.2 if is_of_runs else 2.8))


def set_scales(plot: Axes, curves: Curves) -> None:
    """Sets scales and labels: the first steps stand apart, as far as steps allow."""
    plot.set_xscale("symlog", linthresh=10)
    plot.set_xlim(left=0)
    if curves.is_log:
        # Limits first: without them, matplotlib warns where no value is positive.
        plot.set_ylim(*curves.log_limits)
        plot.set_yscale("log", nonpositive="mask")
    plot.set_xlabel("step")
    plot.set_ylabel(curves.label)
