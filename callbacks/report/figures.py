"""Figures of the lecture: numbers in, PNG out. Uses matplotlib without the state of pyplot.

This file is also the program of the drawing process, so it imports nothing of the package. The program's last argument
is the file descriptor of the connection to the process that asks for pictures.

Sizes are those of a card of TensorBoard, which shows a picture 300 to 450 pixels wide and half as high.
"""

import io
import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator, NullLocator
from PIL import Image

SIZE = (4.0, 2.5)
"""Inches: the form of TensorBoard's card, 100 of its pixels an inch."""

DPI = 200
"""Pixels an inch: TensorBoard does not smooth a picture that it scales, and leaves out every other pixel."""

FONT = 7.5
"""Points; 10 pixels of a card."""

LEFT, BOTTOM, RIGHT = 0.13, 0.175, 0.975
"""Edges of the axes, as fractions of the figure; the right edge where there is no legend."""

TITLE_LINE = 0.062
"""Height of a line of the title, as a fraction of the figure."""

DIGIT = 0.02
"""Width of a character of a tick label such as 5M, as a fraction of the figure."""

LINE = 0.056
"""Height of a tick label, as a fraction of the figure."""

TINY, RESOLUTION = 1e-280, 1e-12
"""Margin of an axis at least, and beside the values: matplotlib replaces limits that are closer to each other."""

GUIDE = -3.0
"""Rule of thumb of the lecture: an update of a thousandth of the parameter."""

COLORS = 128
"""Colors of a PNG: curves, and the shades of their edges. A palette makes a third of the bytes."""

MARKED_STEPS = 100
"""Number of steps up to which each step is marked on a line."""

DARK = LinearSegmentedColormap.from_list(
    "dark", ["#2a0f7a", "#0b3c8c", "#00544f", "#3f5200", "#7a3300", "#7d0030"]
)
LIGHT = LinearSegmentedColormap.from_list(
    "light", ["#8a6cf0", "#2f8fe6", "#12a58c", "#7f9d0c", "#e08214", "#ee5a8c"]
)
"""Colors in the order of depth, from blue to red. Neighbours differ in lightness, which the color-blind see, too."""

DEAD = (224, 96, 0)
"""Color of a dead unit: orange."""

Curve = tuple[Sequence[float], Sequence[float]]
"""Values and densities."""


class NotebookFigure(Figure):
    """Figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        return png(self)


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
    figure, axes = _empty_figure(title)
    for number, (values, densities) in enumerate(lines):
        axes.plot(values, densities, color=color(number, len(lines)), lw=1)
    _add_legend(axes, legend)
    set_across, set_up = (_set_decades if log else _set_ticks for log in is_log)
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
    figure, axes = _empty_figure(title)
    for number, ratios in enumerate(lines):
        _plot_over_steps(axes, steps, ratios, color(number, len(lines)))
    axes.axhline(GUIDE, color="black", lw=0.8, ls="--")
    _add_legend(axes, [*legend, f"guide {GUIDE:g}"] if legend else [])
    label = "log10 std(update) / std(param)"
    _set_ticks(axes, axes.yaxis, _limits_of([*lines, [GUIDE]]), label)
    _set_steps(axes, steps)
    return figure


def series_figure(title: str, steps: Sequence[int], values: Sequence[float]) -> Figure:
    """Plots a number over steps.

    Args:
        title: Title of the figure, of up to two lines.
        steps: `(n,)` steps at which the number was measured.
        values: `(n,)` numbers; NaN where there is none.
    """
    figure, axes = _empty_figure(title)
    _plot_over_steps(axes, steps, values, color(0, 1))
    _set_ticks(axes, axes.yaxis, _limits_of([values]), "")
    _set_steps(axes, steps)
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
    figure, axes = _empty_figure(title)
    across = [math.log2(width) for width in widths]
    for number, values in enumerate(solid):
        shade = color(number, len(solid))
        axes.plot(across, values, color=shade, lw=1, marker=".", ms=2.5)
    _add_legend(axes, legend)
    for number, values in enumerate(dotted):
        if values:
            axes.plot(across, values, color=color(number, len(dotted)), lw=1, ls=":")
    limits = _limits_of([*solid, *dotted])
    _set_ticks(axes, axes.yaxis, limits, "log10 of the mean absolute value")
    _set_ticks(axes, axes.xaxis, _limits_of([across]), "log2 of the width")
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
    figure, axes = _empty_figure(title)
    pixels = np.asarray(shades, dtype=np.uint8)[..., None].repeat(3, -1)
    pixels[:, dead] = DEAD
    axes.imshow(pixels, interpolation="nearest", aspect="auto")
    examples, units = pixels.shape[:2]
    # A column may be narrower than a pixel.
    marks = {"color": np.array(DEAD) / 255, "ls": "", "ms": 3, "clip_on": False}
    axes.plot(dead, [-0.5 - 0.02 * examples] * len(dead), marker="v", **marks)
    _set_ticks(axes, axes.yaxis, (examples - 0.5, -0.5), down, is_whole=True)
    _set_ticks(axes, axes.xaxis, (-0.5, units - 0.5), across, is_whole=True)
    return figure


FIGURES: dict[str, Callable[..., Figure]] = {
    function.__name__: function
    for function in (
        density_figure,
        map_figure,
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


def png(figure: Figure) -> bytes:
    """Returns a figure as a PNG with a palette: TensorBoard takes its time for each byte."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    file = io.BytesIO()
    image.quantize(COLORS, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return file.getvalue()


def color(number: int, count: int) -> tuple[float, float, float, float]:
    """Returns the color of a line by its place among `count` lines."""
    ramp = LIGHT if number % 2 else DARK
    return ramp(number / max(count - 1, 1))


# Title and legend.


def _empty_figure(title: str) -> tuple[Figure, Axes]:
    figure = NotebookFigure(figsize=SIZE, dpi=DPI)
    FigureCanvasAgg(figure)  # measures texts
    lines = title.split("\n")[:2]
    top = 1 - TITLE_LINE * len(lines) - 0.055
    # Axes at a place of their own: a layout engine would draw everything twice.
    axes = figure.add_axes((LEFT, BOTTOM, RIGHT - LEFT, top - BOTTOM))
    axes.tick_params(labelsize=FONT, length=2, pad=1.5)
    axes.tick_params("x", pad=4)  # below the lowest label of the other axis
    for number, line in enumerate(lines):
        text = figure.text(0.015, 0.985 - number * TITLE_LINE, "", va="top")
        text.set(fontsize=FONT, parse_math=False, usetex=False)
        _fit(text, _printable(line))
    return figure, axes


def _fit(text: Text, content: str) -> None:
    """Sets a text, and cuts it in the middle until it fits into its figure."""
    figure = text.get_figure()
    assert figure is not None
    length, room = len(content), 0.985 * figure.bbox.x1
    text.set_text(content)
    while length > 8 and text.get_window_extent().x1 > room:
        length -= max(1, length // 20)
        tail = (length - 1) // 2
        text.set_text(f"{content[: length - 1 - tail]}…{content[-tail:]}")


def _add_legend(axes: Axes, rows: Sequence[str]) -> None:
    """Adds a legend on the right of the axes, whose width it takes away.

    Args:
        axes: Axes with their lines.
        rows: Header, and a row for each line, padded for a font of characters of one width.
    """
    if not rows:
        return
    handles = [Line2D([], [], color="none"), *axes.lines]
    legend = axes.legend(
        handles,
        ["row"] * len(rows),
        loc="upper right",
        bbox_to_anchor=(0.995, axes.get_position().y1 + 0.02),
        bbox_transform=axes.figure.transFigure,
        prop={"family": "DejaVu Sans Mono", "size": FONT - 0.5},
        **{"borderaxespad": 0, "borderpad": 0, "frameon": False},
        **{"handlelength": 1.2, "handletextpad": 0.4, "labelspacing": 0.25},
    )
    for text, row in zip(legend.get_texts(), rows, strict=True):
        # "$" is a character like any other, and so is "_" at the start: matplotlib 3.8 leaves such labels out.
        text.set(text=_printable(row), parse_math=False, usetex=False)
    extent = legend.get_window_extent().transformed(axes.figure.transFigure.inverted())
    place = axes.get_position()
    axes.set_position((place.x0, place.y0, extent.x0 - 0.03 - place.x0, place.height))


def _printable(text: str) -> str:
    """Replaces what is no character of a line, and lone surrogates, which no font and no encoding has."""
    encodable = text.encode(errors="replace").decode()
    return "".join(each if each.isprintable() else " " for each in encodable)


# Axes.


def _plot_over_steps(
    axes: Axes, steps: Sequence[int], values: Sequence[float], line_color: Any
) -> None:
    marker = "." if len(steps) < MARKED_STEPS else None
    axes.plot(steps, values, color=line_color, lw=1, marker=marker, ms=2.5)


def _limits_of(lines: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Limits of the axis of finite values, with margins."""
    values = [value for line in lines for value in line if math.isfinite(value)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    magnitude = max(abs(low), abs(high))
    margin = 0.05 * (high - low)
    if margin < max(RESOLUTION * magnitude, TINY):
        margin = 0.5 * magnitude if magnitude > TINY else 0.5
    return low - margin, high + margin


def _set_steps(axes: Axes, steps: Sequence[int]) -> None:
    _set_ticks(axes, axes.xaxis, _limits_of([steps]), "step", is_whole=True)


def _set_ticks(
    axes: Axes,
    axis: Axis,
    limits: tuple[float, float],
    label: str,
    is_whole: bool = False,
) -> None:
    """Sets the limits of an axis, its label, and as many ticks as do not collide.

    A power of ten that all ticks share stands in the label: matplotlib's own place for it is taken.
    """
    exponent = 0 if is_whole else _exponent(limits)
    scaled = [limit / 10.0**exponent for limit in limits]
    low, high = sorted(scaled)
    is_x = axis is axes.xaxis
    place = axes.get_position()
    length = place.width if is_x else place.height
    ticks, texts = _ticks_that_fit(low, high, is_whole, is_x, length)
    if is_x and ticks:
        # A label at the end of the axis may run out of the figure.
        end = place.x0 + (ticks[-1] - low) / (high - low) * length
        if end + len(texts[-1]) * DIGIT / 2 > 1:
            ticks, texts = ticks[:-1], texts[:-1]
    (axes.set_xlim if is_x else axes.set_ylim)(*limits)
    axis.set_ticks([tick * 10.0**exponent for tick in ticks], labels=texts)
    unit = f" (in 1e{exponent})" if exponent else ""
    _label(axes, axis, label + unit)


def _exponent(limits: tuple[float, float]) -> int:
    """Returns the power of ten of numbers that have too many digits without; 0 of all others."""
    magnitude = max(map(abs, limits))
    exponent = math.floor(math.log10(magnitude)) if magnitude else 0
    return max(exponent, -300) if exponent < -2 or exponent > 3 else 0


def _ticks_that_fit(
    low: float, high: float, is_whole: bool, is_x: bool, length: float
) -> tuple[list[float], list[str]]:
    """Returns ticks and their labels: the most that stand apart from each other on an axis of this length."""
    ticks: list[float] = []
    texts: list[str] = []
    for most in (5, 4, 3, 2, 1):
        locator = MaxNLocator(
            most, steps=[1, 2, 5, 10], integer=is_whole, min_n_ticks=1
        )
        places = np.unique(locator.tick_values(low, high)).tolist()
        ticks = [place for place in places if low <= place <= high]
        texts = _tick_labels(ticks, is_whole)
        distance = (ticks[1] - ticks[0]) / (high - low) * length if ticks[1:] else 1.0
        widest = max(map(len, texts), default=0) * DIGIT
        if distance > (widest + DIGIT if is_x else 1.2 * LINE):
            break
    else:
        return ticks[:1], texts[:1]
    return ticks, texts


def _tick_labels(ticks: Sequence[float], is_whole: bool) -> list[str]:
    """Returns labels with as many digits as tell the ticks apart; of steps, thousands and millions."""
    if is_whole:
        for size, unit in ((10**6, "M"), (10**3, "k")):
            if any(ticks) and all(tick % size == 0 for tick in ticks):
                return [f"{tick / size:.0f}{unit if tick else ''}" for tick in ticks]
        return [f"{tick:.0f}" for tick in ticks]
    for decimals in range(10):
        texts = [f"{tick:.{decimals}f}" for tick in ticks]
        if all(
            math.isclose(float(text), tick, rel_tol=1e-9, abs_tol=1e-9)
            for text, tick in zip(texts, ticks, strict=True)
        ):
            return texts
    return [f"{tick:.9g}" for tick in ticks]


def _set_decades(
    axes: Axes, axis: Axis, limits: tuple[float, float], label: str
) -> None:
    """Makes an axis logarithmic, with powers of ten as ticks; see `_set_ticks`."""
    is_x = axis is axes.xaxis
    length = axes.get_position().width if is_x else axes.get_position().height
    low, high = (math.log10(limit) for limit in limits)
    stride = math.ceil((6 * DIGIT if is_x else 1.2 * LINE) * (high - low) / length)
    decades = range(math.ceil(low), math.floor(high) + 1, max(stride, 1))
    texts = ["1" if decade == 0 else f"1e{decade}" for decade in decades]
    (axes.set_xscale if is_x else axes.set_yscale)("log", nonpositive="mask")
    axis.set_ticks([10.0**decade for decade in decades], labels=texts)
    axis.set_minor_locator(NullLocator())
    (axes.set_xlim if is_x else axes.set_ylim)(*limits)
    _label(axes, axis, label)


def _label(axes: Axes, axis: Axis, label: str) -> None:
    """Labels an axis, and makes room for the label and the ticks on the left of the axes."""
    axis.set_label_text(label, fontsize=FONT)
    axis.labelpad = 1.5
    for text in (axis.label, axis.get_offset_text(), *axis.get_ticklabels()):
        text.set_usetex(False)
    canvas = axes.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    extent = axis.get_tightbbox(canvas.get_renderer())
    if axis is axes.yaxis and extent is not None:
        place = axes.get_position()
        left = place.x0 + max(0.0, 0.01 - extent.x0 / axes.figure.bbox.width)
        axes.set_position((left, place.y0, place.x1 - left, place.height))


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
