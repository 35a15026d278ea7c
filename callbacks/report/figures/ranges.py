"""Magnitudes of tensors by octave, beside the ranges of floating point formats."""

from collections.abc import Sequence

from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from .axes import set_label, set_ticks
from .canvas import empty_figure, printable

NORMAL, SUBNORMAL = "#5b6470", "#b9c0c8"
"""Colors of the range of a format, and of its subnormal numbers: gray."""

OCTAVES = LinearSegmentedColormap.from_list("octaves", ["#ffffff", "#0b3c8c"])
"""Colors of the fractions of values: white to blue."""


def range_figure(
    title: str,
    limits: tuple[float, float],
    names: Sequence[str],
    shades: Sequence[Sequence[float]],
    first: int,
    bars: Sequence[tuple[str, int, int, int]],
) -> Figure:
    """Shows magnitudes by octave, a row a tensor, below bars of the ranges of formats.

    Args:
        title: Title of the figure, of up to two lines.
        limits: Lowest and highest exponent of the axis of the magnitudes.
        names: Names of the tensors.
        shades: `(tensors, octaves)` shades from 0 to 1.
        first: Exponent of the first octave.
        bars: Name of each format, and exponents of its smallest, its smallest normal and beyond its largest number.
    """
    figure, axes = empty_figure(title)
    rows = len(bars) + len(names)
    for row, (_, smallest, normal, end) in enumerate(bars):
        axes.barh(row, end - normal, 0.7, left=normal, color=NORMAL)
        axes.barh(row, normal - smallest, 0.35, left=smallest, color=SUBNORMAL)
    for row, octaves in enumerate(shades, len(bars)):
        filled = [place for place, shade in enumerate(octaves) if shade]
        # A bar for each would take ten times as long as one collection.
        axes.broken_barh(
            [(first + place, 1) for place in filled],
            (row - 0.4, 0.8),
            facecolors=[OCTAVES(octaves[place]) for place in filled],
        )
    labels = [printable(label) for label in [*(bar[0] for bar in bars), *names]]
    axes.set_ylim(rows - 0.4, -0.6)
    axes.yaxis.set_ticks(range(rows), labels=labels)
    for label in axes.get_yticklabels():
        label.set(parse_math=False, usetex=False)
    set_label(axes, axes.yaxis, "")
    set_ticks(axes, axes.xaxis, limits, "log2 of the magnitude", is_whole=True)
    return figure
