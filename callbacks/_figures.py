"""The pictures of the lecture: numbers in, matplotlib Figure out. Touches no state of pyplot."""

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ._histogram import Floats, Histogram
from ._saturation import Saturation

POINTS = 100
"""Points of a curve, as many as in the lecture."""

MOST_CURVES = 12
"""Curves that can be told apart; of more, as many are drawn, evenly spread."""

CENTRE = 0.9995
"""Share of a layer's values, at either end, that the axis is made to hold."""

GUIDE = -3.0
"""The lecture's rule of thumb: an update of a thousandth of the parameter."""


LONGEST_NAME = 28
"""Characters of a name in a legend; of a longer one its end is what tells it from others."""


class Curve(NamedTuple):
    """One line of a picture of densities: what it is of, what the legend adds, and the values."""

    name: str
    remark: str
    histogram: Histogram


def density_figure(title: str, axis: str, curves: Sequence[Curve]) -> Figure:
    """Draws how the values of each layer are spread, one curve a layer over one axis.

    Args:
        title: Over the picture.
        axis: What the values are.
        curves: In the order of the layers; those without spread are left out.
    """
    figure, axes = _empty_figure(title, has_legend=True)
    drawn = evenly(curves)
    limits = _range([curve.histogram for curve in drawn])
    for number, curve in enumerate(drawn):
        edges, density = _density(curve.histogram, limits)
        label = f"{short(curve.name)}: {curve.remark}"
        axes.plot((edges[1:] + edges[:-1]) / 2, density, label=label, color=_color(number, len(drawn)), lw=1.4)
    axes.set(xlabel=axis, ylabel="density", xlim=limits)
    axes.set_ylim(bottom=0)
    _add_legend(axes, len(curves))
    return figure


def ratio_figure(title: str, steps: Sequence[int], ratios: Mapping[str, Sequence[float | None]]) -> Figure:
    """Draws log10 update ratios over steps, one line a parameter, with the guide at -3.

    Args:
        title: Over the picture.
        steps: `(n,)` where the ratios were taken.
        ratios: By parameter, `(n,)` each; None where there is none.
    """
    figure, axes = _empty_figure(title, has_legend=True)
    drawn = evenly(list(ratios.items()))
    for number, (name, values) in enumerate(drawn):
        line = [float("nan") if value is None else value for value in values]
        marker = "." if len(steps) < POINTS else None
        axes.plot(steps, line, label=short(name), color=_color(number, len(drawn)), lw=1.2, marker=marker)
    axes.axhline(GUIDE, color="black", lw=1, ls="--", label="guide: -3")
    axes.set(xlabel="step", ylabel="log10( std(update) / std(parameter) )")
    _add_legend(axes, len(ratios))
    return figure


def saturation_figure(title: str, saturation: Saturation) -> Figure:
    """Draws which values are saturated, in white: units across, examples down.

    Args:
        title: Over the picture.
        saturation: Of one layer, with `shown`.
    """
    figure, axes = _empty_figure(title, has_legend=False)
    if saturation.shown is not None:
        axes.imshow(saturation.shown.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes.set(xlabel="unit", ylabel="example")
    return figure


def render(figure: Figure) -> bytes:
    """Returns a figure as PNG."""
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()


def short(name: str) -> str:
    """Keeps of a long name the end, from a dot on where that is possible."""
    kept = name
    while len(kept) > LONGEST_NAME and "." in kept:
        kept = kept.partition(".")[2]
    return name if kept == name else f"…{kept}"


def evenly(found: Sequence) -> Sequence:
    """Takes at most as many as a picture can hold, evenly spread, the first and the last included."""
    if len(found) <= MOST_CURVES:
        return found
    return [found[round(i * (len(found) - 1) / (MOST_CURVES - 1))] for i in range(MOST_CURVES)]


def _empty_figure(title: str, has_legend: bool) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9.2, 3.6), dpi=100)
    # A layout engine would draw everything twice.
    axes = figure.add_axes((0.08, 0.14, 0.48 if has_legend else 0.9, 0.77))
    axes.set_title(title, fontsize=10)
    return figure, axes


def _add_legend(axes: Axes, there: int) -> None:
    if there:
        title = f"{MOST_CURVES} of {there}" if there > MOST_CURVES else None
        lines = axes.lines
        # Given by name, or those whose names begin with "_" would be left out.
        axes.legend(
            lines,
            [str(line.get_label()) for line in lines],
            fontsize=7,
            title=title,
            title_fontsize=7,
            loc="upper left",
            bbox_to_anchor=(1.01, 1.01),
        )


def _color(number: int, of: int) -> tuple[float, float, float, float]:
    """From the first layer, dark, to the last, light: depth can be seen at a glance."""
    return colormaps["viridis"](0.92 * number / max(of - 1, 1))


def _range(histograms: Sequence[Histogram]) -> tuple[float, float]:
    """The values that all but the outermost few of every layer lie between."""
    low = min((h.quantile(1 - CENTRE) for h in histograms), default=0.0)
    high = max((h.quantile(CENTRE) for h in histograms), default=0.0)
    room = 0.02 * (high - low) or 0.5 * abs(high) or 0.5
    return low - room, high + room


def _density(histogram: Histogram, limits: tuple[float, float]) -> tuple[Floats, Floats]:
    """Edges and densities over the part of the axis where there are values."""
    low = max(limits[0], histogram.moments.low)
    high = min(limits[1], histogram.moments.high)
    if not low < high:  # a constant: a spike as wide as one point of the axis
        low, high = low - (limits[1] - limits[0]) / POINTS / 2, low + (limits[1] - limits[0]) / POINTS / 2
    edges = np.linspace(low, high, POINTS + 1)
    return edges, histogram.count_between(edges) / (histogram.moments.count * (edges[1] - edges[0]))
