"""Figures of the lecture: numbers in, PNG out. Uses matplotlib without the state of pyplot.

This file is also the program of the drawing process, so it imports nothing of the package. The program's last argument
is the file descriptor of the connection to the process that asks for pictures.
"""

import io
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

GUIDE = -3.0
"""Rule of thumb of the lecture: an update of a thousandth of the parameter."""

COLORS = 128
"""Colors of a PNG: curves, and the shades of their edges. A palette makes a third of the bytes."""

MARKED_STEPS = 100
"""Number of steps up to which each step is marked on a line."""

Curve = tuple[str, Sequence[float], Sequence[float]]
"""Label, values and densities."""

Line = tuple[str, Sequence[float]]
"""Label, and a value at each step; NaN where there is none."""


def density_figure(
    title: str,
    axis: str,
    limits: tuple[float, float],
    lines: Sequence[Curve],
    total: int,
) -> Figure:
    """Plots densities, one curve a layer, over one axis.

    Args:
        title: Title of the figure.
        axis: Label of the axis of the values.
        limits: Lowest and highest value of that axis.
        lines: Curves in the order of the layers.
        total: Number of layers, of which the lines may be a selection.
    """
    figure, axes = _empty_figure(title, width=0.48)
    for number, (_, values, densities) in enumerate(lines):
        axes.plot(values, densities, color=_color(number, len(lines)), lw=1.4)
    axes.set(xlabel=axis, ylabel="density", xlim=limits)
    axes.set_ylim(bottom=0)
    labels = [label for label, *_ in lines]
    _add_legend(axes, labels, len(lines), total)
    return figure


def ratio_figure(
    title: str, steps: Sequence[int], lines: Sequence[Line], total: int
) -> Figure:
    """Plots log10 of update ratios over steps, one line a parameter, with the guide at -3.

    Args:
        title: Title of the figure.
        steps: `(n,)` steps at which the ratios were measured.
        lines: Lines of `(n,)` ratios each.
        total: Number of parameters, of which the lines may be a selection.
    """
    figure, axes = _empty_figure(title, width=0.48)
    marker = "." if len(steps) < MARKED_STEPS else None
    for number, (_, ratios) in enumerate(lines):
        axes.plot(
            steps, ratios, color=_color(number, len(lines)), lw=1.2, marker=marker
        )
    axes.axhline(GUIDE, color="black", lw=1, ls="--")
    axes.set(xlabel="step", ylabel="log10( std(update) / std(parameter) )")
    labels = [label for label, _ in lines]
    _add_legend(axes, [*labels, "guide: -3"], len(lines), total)
    return figure


def map_figure(title: str, shades: Sequence[Sequence[int]]) -> Figure:
    """Shows a saturation map: units across, examples down, white = saturated.

    Args:
        title: Title of the figure.
        shades: `(examples, units)` array, from 0 to 255.
    """
    figure, axes = _empty_figure(title, width=0.9)
    axes.imshow(
        shades, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto"
    )
    axes.set(xlabel="unit", ylabel="example")
    return figure


def distribution_figure(
    title: str,
    axis: str,
    limits: tuple[float, float],
    values: Sequence[float],
    densities: Sequence[float],
) -> Figure:
    """Plots the density of one distribution.

    Args:
        title: Title of the figure.
        axis: Label of the axis of the values.
        limits: Lowest and highest value of that axis.
        values: `(n,)` places on that axis; none where there are no finite values.
        densities: `(n,)` densities there.
    """
    figure, axes = _empty_figure(title, width=0.9)
    axes.plot(values, densities, color=_color(0, 1), lw=1.4)
    axes.set(xlabel=axis, ylabel="density", xlim=limits)
    axes.set_ylim(bottom=0)
    return figure


def series_figure(title: str, steps: Sequence[int], values: Sequence[float]) -> Figure:
    """Plots a number over steps.

    Args:
        title: Title of the figure.
        steps: `(n,)` steps at which the number was measured.
        values: `(n,)` numbers; NaN where there is none.
    """
    figure, axes = _empty_figure(title, width=0.9)
    marker = "." if len(steps) < MARKED_STEPS else None
    axes.plot(steps, values, color=_color(0, 1), lw=1.2, marker=marker)
    axes.set(xlabel="step")
    return figure


FIGURES: dict[str, Callable[..., Figure]] = {
    function.__name__: function
    for function in (
        density_figure,
        distribution_figure,
        map_figure,
        ratio_figure,
        series_figure,
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


def png(figure: Figure) -> bytes:
    """Returns a figure as a PNG with a palette: TensorBoard takes its time for each byte."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    file = io.BytesIO()
    image.quantize(COLORS, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return file.getvalue()


def _empty_figure(title: str, width: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9.2, 3.6), dpi=100)
    # Axes at a place of their own: a layout engine would draw everything twice.
    axes = figure.add_axes((0.08, 0.14, width, 0.77))
    axes.set_title(_encodable(title), fontsize=10, parse_math=False)
    return figure, axes


def _add_legend(axes: Axes, labels: Sequence[str], chosen: int, total: int) -> None:
    if not total:
        return
    # Labels that begin with "_" are left out unless they are given explicitly, and empty labels are replaced.
    texts = [_encodable(label) for label in labels]
    title = f"{chosen} of {total}" if chosen < total else None
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.01)}
    legend = axes.legend(
        axes.lines, texts, fontsize=7, title=title, title_fontsize=7, **place
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # "$" is a character like any other in a name


def _encodable(text: str) -> str:
    """Replaces lone surrogates, which no font and no encoding has."""
    return text.encode(errors="replace").decode()


def _color(number: int, count: int) -> tuple[float, float, float, float]:
    """Color of a line, from dark (the first layer) to light (the last)."""
    return colormaps["viridis"](0.92 * number / max(count - 1, 1))


def serve(connection: Connection) -> None:
    """Draws figures until the other end of the connection is closed.

    Args:
        connection: Carries arguments of `draw` in, and out the PNG or, as a string, an error.
    """
    matplotlib.rcdefaults()  # not the settings of a matplotlibrc in the working directory
    warnings.simplefilter("ignore")
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        try:
            answer: bytes | str = png(draw(*request))
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        connection.send(answer)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[-1])))
