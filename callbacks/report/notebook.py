"""Figures for a notebook or a script, drawn when they are asked for."""

from typing import TYPE_CHECKING

from .._messages import InstrumentError
from ..measure.histogram import Histogram
from .history import History
from .plots import HistogramPlot, Plot, SeriesPlot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_plot(plot: Plot) -> "Figure":
    """Draws a plot.

    Raises:
        InstrumentError: If matplotlib is not installed.
    """
    try:
        from .figures.draw import draw
    except ImportError as error:
        raise InstrumentError(
            f"a figure needs matplotlib and Pillow, and one is missing ({error}): python -m pip install matplotlib"
        ) from error
    return draw(plot.figure, plot.arguments())


def draw_histogram(histogram: Histogram) -> "Figure":
    """Draws the density of a distribution."""
    return draw_plot(HistogramPlot("distribution", "value", histogram))


Histogram.drawing = draw_histogram  # `measure` draws nothing by itself


def plot_of(
    tag: str,
    plots: dict[str, Plot],
    latest: dict[str, float | Histogram],
    step: int | None,
    history: History,
) -> Plot:
    """Returns what there is to be drawn of a tag: a picture, a distribution, or a number over steps.

    Args:
        tag: Tag of a picture, a histogram or a number.
        plots: Pictures of the last due step, by tag.
        latest: Numbers and histograms of that step.
        step: That step.
        history: Numbers of all due steps.

    Raises:
        InstrumentError: If there is nothing; lists what there is.
    """
    if tag in plots:
        return plots[tag]
    value = latest.get(tag)
    if isinstance(value, Histogram):
        return HistogramPlot(f"{tag} at step {step}", tag.split("/")[0], value)
    if tag in history:
        return SeriesPlot(tag, *history[tag])
    tags = ", ".join(dict.fromkeys([*plots, *latest, *history]))
    raise InstrumentError(
        f"there is no figure of {tag!r}; there are figures of: {tags or 'nothing yet, before the first due step'}"
    )
