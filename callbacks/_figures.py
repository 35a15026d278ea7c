"""The pictures of the lecture: numbers in, matplotlib Figure out. Touches no state of pyplot.

This file needs nothing of the package, and is also the program of the process that draws, which is given the number of
the file descriptor that takes its answers.
"""

import io
import os
import pickle
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

IDLE = 60.0
"""Seconds without a request after which the process that draws ends."""

POINTS = 100
"""Points of a curve, as many as in the lecture."""

MOST_CURVES = 12
"""Curves that can be told apart; of more, as many are drawn, evenly spread."""

GUIDE = -3.0
"""The lecture's rule of thumb: an update of a thousandth of the parameter."""


COLORS = 128
"""Of a picture: those of its curves, and their shades at the edges."""

LONGEST_NAME = 28
"""Characters of a name in a legend; of a longer one its end is what tells it from others."""


Line = tuple[str, Sequence[float], Sequence[float]]
"""What the legend says, and a curve's points."""


def density_figure(
    title: str, axis: str, limits: tuple[float, float], lines: Sequence[Line], of: int | None = None
) -> Figure:
    """Draws how the values of each layer are spread, one curve a layer over one axis.

    Args:
        title: Over the picture.
        axis: What the values are.
        limits: Of that axis.
        lines: In the order of the layers.
        of: How many there are, if these are some of them.
    """
    figure, axes = _empty_figure(title, has_legend=True)
    for number, (label, values, densities) in enumerate(lines):
        axes.plot(values, densities, label=label, color=_color(number, len(lines)), lw=1.4)
    axes.set(xlabel=axis, ylabel="density", xlim=limits)
    axes.set_ylim(bottom=0)
    _add_legend(axes, len(lines) if of is None else of)
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


def saturation_figure(title: str, shown: Sequence[Sequence[bool]]) -> Figure:
    """Draws which values are saturated, in white: units across, examples down.

    Args:
        title: Over the picture.
        shown: `(examples, units)`, an array.
    """
    figure, axes = _empty_figure(title, has_legend=False)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes.set(xlabel="unit", ylabel="example")
    return figure


def render(figure: Figure) -> bytes:
    """Returns a figure as PNG, of as few bytes as can be: TensorBoard takes its time for each."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    png = io.BytesIO()
    picture.quantize(COLORS, dither=Image.Dither.NONE).save(png, "png", optimize=True)
    return png.getvalue()


def draw(figure: str, arguments: Mapping[str, Any]) -> bytes:
    """Returns one of these pictures as PNG.

    Args:
        figure: The name of its function.
        arguments: That function's.
    """
    return render(FIGURES[figure](**arguments))


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


FIGURES = {function.__name__: function for function in (density_figure, ratio_figure, saturation_figure)}


def serve(answers: BinaryIO) -> None:
    """Draws what is asked for on standard input, as pickled arguments of `draw`; ends with it, or when idle.

    Args:
        answers: Takes a picture for each, or what went wrong with it, pickled.
    """
    while True:
        rest = threading.Timer(IDLE, os._exit, (0,))
        rest.daemon = True
        rest.start()
        try:
            asked = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        rest.cancel()
        try:
            answer: bytes | str = draw(*asked)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    serve(os.fdopen(int(sys.argv[1]), "wb"))
