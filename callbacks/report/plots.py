"""Plot data: what a picture shows, cheap to make on the training thread.

The conversion into plain arrays, `arguments`, is left to the thread that draws.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..measure.histogram import Floats, Histogram
from .legend import choose_evenly, shorten_names

POINTS = 100
"""Points of a density curve, as in the lecture."""

CENTER = 0.9995
"""Fraction of the values, at either end, up to which the axis reaches."""

MARGIN = 0.02
"""Width of the margins of the axis, as a fraction of the range."""

LONGEST_LABEL = 50
"""Characters for which the legend of a figure has room where names have no remarks."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Distribution of one layer or parameter.

    Attributes:
        name: Its qualified name.
        remark: Text after the name in the legend, such as "mean +0.00".
        histogram: Its values; at least one is finite.
    """

    name: str
    remark: str
    histogram: Histogram


@dataclass(frozen=True, slots=True)
class DensityPlot:
    """Densities over one axis, one curve a layer.

    Attributes:
        title: Title of the figure.
        axis: Label of the axis of the values.
        curves: Curves in the order of the layers.
    """

    figure: ClassVar[str] = "density_figure"
    title: str
    axis: str
    curves: Sequence[Curve]

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of `figures.density_figure`."""
        curves = choose_evenly(self.curves)
        limits = _axis_limits([curve.histogram for curve in curves])
        names = shorten_names([curve.name for curve in curves])
        lines = []
        for name, curve in zip(names, curves, strict=True):
            values, densities = _density(curve.histogram, limits)
            lines.append((f"{name}: {curve.remark}", values, densities))
        total = len(self.curves)
        return {
            "title": self.title,
            "axis": self.axis,
            "limits": limits,
            "lines": lines,
            "total": total,
        }


@dataclass(frozen=True, slots=True)
class RatioPlot:
    """log10 of update ratios over steps, one line a parameter.

    Attributes:
        title: Title of the figure.
        steps: `(n,)` steps at which the ratios were measured.
        ratios: `(n,)` ratios of each parameter, None where there is none. The lists must not change any more.
    """

    figure: ClassVar[str] = "ratio_figure"
    title: str
    steps: Sequence[int]
    ratios: Mapping[str, Sequence[float | None]]

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of `figures.ratio_figure`."""
        names = choose_evenly(list(self.ratios))
        values = [_with_gaps(self.ratios[name]) for name in names]
        lines = list(zip(shorten_names(names, LONGEST_LABEL), values, strict=True))
        return {
            "title": self.title,
            "steps": list(self.steps),
            "lines": lines,
            "total": len(self.ratios),
        }


@dataclass(frozen=True, slots=True, eq=False)
class MapPlot:
    """Saturation map of a layer: units across, examples down.

    Attributes:
        title: Title of the figure.
        shades: `(examples, units)` from 0 to 255: white = saturated at every place of the example.
    """

    figure: ClassVar[str] = "map_figure"
    title: str
    shades: NDArray[np.uint8]

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of `figures.map_figure`."""
        return {"title": self.title, "shades": self.shades}


@dataclass(frozen=True, slots=True, eq=False)
class HistogramPlot:
    """Density of one distribution, with its mean and std in the title.

    Attributes:
        title: Title of the figure, such as the tag and the step.
        axis: Label of the axis of the values.
        histogram: Values of the distribution.
    """

    figure: ClassVar[str] = "distribution_figure"
    title: str
    axis: str
    histogram: Histogram

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of `figures.distribution_figure`."""
        moments = self.histogram.moments
        if not moments.count:
            title = f"{self.title}: no finite values"
            return {
                "title": title,
                "axis": self.axis,
                "limits": (0.0, 1.0),
                "values": [],
                "densities": [],
            }
        limits = _axis_limits([self.histogram])
        values, densities = _density(self.histogram, limits)
        return {
            "title": f"{self.title}: mean {moments.mean:+.2g}, std {moments.std or 0:.2g}",
            "axis": self.axis,
            "limits": limits,
            "values": values,
            "densities": densities,
        }


@dataclass(frozen=True, slots=True)
class SeriesPlot:
    """A number over steps.

    Attributes:
        title: Title of the figure, such as the tag.
        steps: `(n,)` steps at which the number was measured.
        values: `(n,)` numbers, None where there is none.
    """

    figure: ClassVar[str] = "series_figure"
    title: str
    steps: Sequence[int]
    values: Sequence[float | None]

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of `figures.series_figure`."""
        return {
            "title": self.title,
            "steps": list(self.steps),
            "values": _with_gaps(self.values),
        }


Plot = DensityPlot | RatioPlot | MapPlot | HistogramPlot | SeriesPlot


def _axis_limits(histograms: Sequence[Histogram]) -> tuple[float, float]:
    """Limits between which all but the outermost few values of every histogram lie."""
    lows = [histogram.quantile(1 - CENTER) for histogram in histograms]
    highs = [histogram.quantile(CENTER) for histogram in histograms]
    low, high = min(lows, default=0.0), max(highs, default=0.0)
    margin = MARGIN * (high - low) or 0.5 * abs(high) or 0.5
    return low - margin, high + margin


def _density(
    histogram: Histogram, limits: tuple[float, float]
) -> tuple[Floats, Floats]:
    """`(POINTS,)` values and densities over the part of the axis where the histogram has values."""
    low = max(limits[0], histogram.moments.low)
    high = min(limits[1], histogram.moments.high)
    if not low < high:  # a constant: a spike as wide as one point of the axis
        half = (limits[1] - limits[0]) / POINTS / 2
        low, high = low - half, low + half
    edges = np.linspace(low, high, POINTS + 1)
    fractions = histogram.count_between(edges) / histogram.moments.count
    width = edges[1] - edges[0]
    return edges[:-1] + width / 2, fractions / width


def _with_gaps(values: Sequence[float | None]) -> list[float]:
    """Replaces None by NaN, at which matplotlib interrupts a line."""
    return [math.nan if value is None else value for value in values]
