"""Canvas of all figures: size, title, legend, colors, and the PNG.

Sizes are those of a card of TensorBoard, which shows a picture 300 to 450 pixels wide and half as high.
"""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
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

COLORS = 128
"""Colors of a PNG: curves, and the shades of their edges. A palette makes a third of the bytes."""

DARK = LinearSegmentedColormap.from_list(
    "dark", ["#2a0f7a", "#0b3c8c", "#00544f", "#3f5200", "#7a3300", "#7d0030"]
)
LIGHT = LinearSegmentedColormap.from_list(
    "light", ["#8a6cf0", "#2f8fe6", "#12a58c", "#7f9d0c", "#e08214", "#ee5a8c"]
)
"""Colors in the order of depth, from blue to red. Neighbours differ in lightness, which the color-blind see, too."""


class NotebookFigure(Figure):
    """Figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        return png(self)


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


def empty_figure(title: str) -> tuple[Figure, Axes]:
    """Returns a figure with its title, and its only axes."""
    figure, room = titled_figure(title)
    top = room - 0.035
    # Axes at a place of their own: a layout engine would draw everything twice.
    axes = figure.add_axes((LEFT, BOTTOM, RIGHT - LEFT, top - BOTTOM))
    axes.tick_params(labelsize=FONT, length=2, pad=1.5)
    axes.tick_params("x", pad=4)  # below the lowest label of the other axis
    return figure, axes


def titled_figure(title: str) -> tuple[Figure, float]:
    """Returns a figure with its title, and the height up to which there is room for axes."""
    figure = NotebookFigure(figsize=SIZE, dpi=DPI)
    FigureCanvasAgg(figure)  # measures texts
    lines = title.split("\n")[:2]
    for number, line in enumerate(lines):
        text = figure.text(0.015, 0.985 - number * TITLE_LINE, "", va="top")
        text.set(fontsize=FONT, parse_math=False, usetex=False)
        _fit(text, printable(line))
    return figure, 1 - TITLE_LINE * len(lines) - 0.02


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


def add_legend(axes: Axes, rows: Sequence[str]) -> None:
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
        text.set(text=printable(row), parse_math=False, usetex=False)
    extent = legend.get_window_extent().transformed(axes.figure.transFigure.inverted())
    place = axes.get_position()
    axes.set_position((place.x0, place.y0, extent.x0 - 0.03 - place.x0, place.height))


def printable(text: str) -> str:
    """Replaces what is no character of a line, and lone surrogates, which no font and no encoding has."""
    encodable = text.encode(errors="replace").decode()
    return "".join(each if each.isprintable() else " " for each in encodable)
