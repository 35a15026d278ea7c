"""Drawing of figures by name: densities, update ratios, other series, scales over width, and saturation maps."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from .axes import limits_of, set_decades, set_steps, set_ticks
from .canvas import add_legend, color, empty_figure, png
from .overview import overview_figure
from .ranges import range_figure

GUIDE = -3.0
"""Rule of thumb of the lecture: an update of a thousandth of the parameter."""

MARKED_STEPS = 100
"""Number of steps up to which each step is marked on a line."""

DEAD = (224, 96, 0)
"""Color of a dead unit: orange."""

Curve = tuple[Sequence[float], Sequence[float]]
"""Values and densities."""


def density_figure(
    title: str,
    across: str,
    up: str,
    limits: tuple[float, float],
    heights: tuple[float, float],
    is_log: tuple[bool, bool],
    lines: Sequence[Curve],
    legend: Sequence[str],
) -> Figure:
    """Plots densities, one curve a layer, over one axis.

    Args:
        title: Title of the figure, of up to two lines.
        across: Label of the axis of the values.
        up: Label of the axis of the densities.
        limits: Lowest and highest value of the axis of the values.
        heights: Lowest and highest density of the axis of the densities.
        is_log: Whether each of the two axes is logarithmic.
        lines: Curves in the order of the layers.
        legend: Header and a row for each curve; empty = no legend.
    """
    figure, axes = empty_figure(title)
    for number, (values, densities) in enumerate(lines):
        axes.plot(values, densities, color=color(number, len(lines)), lw=1)
    add_legend(axes, legend)
    set_across, set_up = (set_decades if log else set_ticks for log in is_log)
    set_up(axes, axes.yaxis, heights, up)
    set_across(axes, axes.xaxis, limits, across)
    return figure


def ratio_figure(
    title: str,
    steps: Sequence[int],
    lines: Sequence[Sequence[float]],
    legend: Sequence[str],
) -> Figure:
    """Plots log10 of update ratios over steps, one line a parameter, with the guide at -3.

    Args:
        title: Title of the figure, of up to two lines.
        steps: `(n,)` steps at which the ratios were measured.
        lines: `(n,)` ratios of each parameter; NaN where there is none.
        legend: Header and a row for each line; empty = no legend.
    """
    figure, axes = empty_figure(title)
    for number, ratios in enumerate(lines):
        _plot_over_steps(axes, steps, ratios, color(number, len(lines)))
    axes.axhline(GUIDE, color="black", lw=0.8, ls="--")
    add_legend(axes, [*legend, f"guide {GUIDE:g}"] if legend else [])
    label = "log10 std(update) / std(param)"
    set_ticks(axes, axes.yaxis, limits_of([*lines, [GUIDE]]), label)
    set_steps(axes, steps)
    return figure


def series_figure(title: str, steps: Sequence[int], values: Sequence[float]) -> Figure:
    """Plots a number over steps.

    Args:
        title: Title of the figure, of up to two lines.
        steps: `(n,)` steps at which the number was measured.
        values: `(n,)` numbers; NaN where there is none.
    """
    figure, axes = empty_figure(title)
    _plot_over_steps(axes, steps, values, color(0, 1))
    set_ticks(axes, axes.yaxis, limits_of([values]), "")
    set_steps(axes, steps)
    return figure


def width_figure(
    title: str,
    widths: Sequence[int],
    solid: Sequence[Sequence[float]],
    dotted: Sequence[Sequence[float]],
    legend: Sequence[str],
) -> Figure:
    """Plots log10 of scales over the width of a network, two lines a layer.

    Args:
        title: Title of the figure, of up to two lines.
        widths: `(n,)` widths.
        solid: `(n,)` log10 of the scale of each layer; NaN where there is none.
        dotted: `(n,)` log10 of a second scale of each layer, or nothing.
        legend: Header and a row for each layer; empty = no legend.
    """
    figure, axes = empty_figure(title)
    across = [math.log2(width) for width in widths]
    for number, values in enumerate(solid):
        shade = color(number, len(solid))
        axes.plot(across, values, color=shade, lw=1, marker=".", ms=2.5)
    add_legend(axes, legend)
    for number, values in enumerate(dotted):
        if values:
            axes.plot(across, values, color=color(number, len(dotted)), lw=1, ls=":")
    limits = limits_of([*solid, *dotted])
    set_ticks(axes, axes.yaxis, limits, "log10 of the mean absolute value")
    set_ticks(axes, axes.xaxis, limits_of([across]), "log2 of the width")
    return figure


def map_figure(
    title: str,
    shades: Sequence[Sequence[int]],
    dead: Sequence[int],
    across: str,
    down: str,
) -> Figure:
    """Shows a saturation map: units across, examples down, white = saturated, orange = dead.

    Args:
        title: Title of the figure, of up to two lines.
        shades: `(examples, units)` array, from 0 to 255.
        dead: Numbers of the units that are dead.
        across: Label of the axis of the units.
        down: Label of the axis of the examples.
    """
    figure, axes = empty_figure(title)
    pixels = np.asarray(shades, dtype=np.uint8)[..., None].repeat(3, -1)
    pixels[:, dead] = DEAD
    axes.imshow(pixels, interpolation="nearest", aspect="auto")
    examples, units = pixels.shape[:2]
    # A column may be narrower than a pixel.
    marks = {"color": np.array(DEAD) / 255, "ls": "", "ms": 3, "clip_on": False}
    axes.plot(dead, [-0.5 - 0.02 * examples] * len(dead), marker="v", **marks)
    set_ticks(axes, axes.yaxis, (examples - 0.5, -0.5), down, is_whole=True)
    set_ticks(axes, axes.xaxis, (-0.5, units - 0.5), across, is_whole=True)
    return figure


FIGURES: dict[str, Callable[..., Figure]] = {
    function.__name__: function
    for function in (
        density_figure,
        map_figure,
        overview_figure,
        range_figure,
        ratio_figure,
        series_figure,
        width_figure,
    )
}


def draw(figure: str, arguments: Mapping[str, Any]) -> Figure:
    """Draws a figure.

    Args:
        figure: Name of one of the functions in `FIGURES`.
        arguments: Arguments of that function.
    """
    drawn = FIGURES[figure](**arguments)
    for text in drawn.findobj(Text):
        text.set_usetex(False)  # type: ignore[attr-defined]
    return drawn


def draw_png(figure: str, arguments: Mapping[str, Any]) -> bytes:
    """Draws a figure, and returns it as a PNG; see `draw`."""
    return png(draw(figure, arguments))


def _plot_over_steps(
    axes: Axes, steps: Sequence[int], values: Sequence[float], line_color: Any
) -> None:
    marker = "." if len(steps) < MARKED_STEPS else None
    axes.plot(steps, values, color=line_color, lw=1, marker=marker, ms=2.5)
