"""Plot data: what a picture shows, cheap to make on the training thread.

The conversion into plain arrays, `arguments`, is left to the thread that draws.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..measure.histogram import Histogram
from .density import (
    DensityAxis,
    choose_axis,
    choose_heights,
    density,
    zero_fraction,
)
from .legend import choose_evenly, legend_rows
from .number_text import compact, percent
from .overview_plot import OverviewPlot
from .range_plot import RangePlot


@dataclass(frozen=True, slots=True)
class Curve:
    """Distribution of one layer or parameter.

    Attributes:
        name: Its qualified name.
        cells: Numbers beside the name in the legend, by the header of their column, such as {"std": "0.75"}.
        histogram: Its values. Without a finite value there is no curve, but a row in the legend.
    """

    name: str
    cells: Mapping[str, str]
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
        axis = choose_axis([curve.histogram for curve in curves])
        cells = [dict(curve.cells) for curve in curves]
        if axis.without_zeros:
            for row, curve in zip(cells, curves, strict=True):
                row.setdefault("zeros", percent(zero_fraction(curve.histogram)))
        names = [curve.name for curve in curves]
        return {
            "title": self.title,
            **_density_arguments(self.axis, axis, [c.histogram for c in curves]),
            "legend": legend_rows(names, cells, len(self.curves)) if curves else [],
        }


@dataclass(frozen=True, slots=True, eq=False)
class HistogramPlot:
    """Density of one distribution, with its mean and std in the title.

    Attributes:
        title: Title of the figure, such as the tag and the step.
        axis: Label of the axis of the values.
        histogram: Values of the distribution.
    """

    figure: ClassVar[str] = "density_figure"
    title: str
    axis: str
    histogram: Histogram

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of `figures.density_figure`."""
        axis = choose_axis([self.histogram])
        summary = ", ".join(
            f"{name} {number}" for name, number in moment_cells(self.histogram).items()
        )
        if axis.without_zeros:
            summary += f", {percent(zero_fraction(self.histogram))} zeros"
        return {
            "title": f"{self.title}\n{summary}",
            **_density_arguments(self.axis, axis, [self.histogram]),
            "legend": [],
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
        cells = [{"last": _last(self.ratios[name])} for name in names]
        return {
            "title": self.title,
            "steps": list(self.steps),
            "lines": [_with_gaps(self.ratios[name]) for name in names],
            "legend": legend_rows(names, cells, len(self.ratios)) if names else [],
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


@dataclass(frozen=True, slots=True, eq=False)
class MapPlot:
    """Saturation map of a layer: units across, examples down.

    Attributes:
        title: Title of the figure.
        shades: `(examples, units)` 255 where a unit is saturated, 0 elsewhere.
        dead: Mask of the dead units, of at least as many units as are shown; None = not known.
        places: Sizes of the axes of an example besides its units, of whose center the map is, such as (28, 28).
    """

    figure: ClassVar[str] = "map_figure"
    title: str
    shades: NDArray[np.uint8]
    dead: NDArray[np.bool_] | None = None
    places: tuple[int, ...] = ()

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of `figures.map_figure`."""
        units = self.shades.shape[1]
        dead = [] if self.dead is None else np.flatnonzero(self.dead[:units]).tolist()
        size = " x ".join(map(str, self.places))
        total = units if self.dead is None else len(self.dead)
        return {
            "title": self.title,
            "shades": self.shades,
            "dead": dead,
            "across": f"unit (first {units} of {total})" if units < total else "unit",
            "down": f"example, center of {size}" if size else "example",
        }


@dataclass(frozen=True, slots=True)
class WidthPlot:
    """Scales over the width of a network, one line a layer.

    Attributes:
        title: Title of the figure.
        widths: `(n,)` widths.
        scales: `(n,)` scales of each layer.
        updates: `(n,)` scales of the updates of some of the layers.
        slopes: Slope of each layer, as text.
    """

    figure: ClassVar[str] = "width_figure"
    title: str
    widths: Sequence[int]
    scales: Mapping[str, Sequence[float]]
    updates: Mapping[str, Sequence[float]]
    slopes: Mapping[str, str]

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of `figures.width_figure`."""
        names = choose_evenly(list(self.scales))
        cells = [{"slope": self.slopes[name]} for name in names]
        return {
            "title": self.title,
            "widths": list(self.widths),
            "solid": [_logs(self.scales[name]) for name in names],
            "dotted": [_logs(self.updates.get(name, ())) for name in names],
            "legend": legend_rows(names, cells, len(self.scales)) if names else [],
        }


Plot = (
    DensityPlot
    | HistogramPlot
    | MapPlot
    | OverviewPlot
    | RangePlot
    | RatioPlot
    | SeriesPlot
    | WidthPlot
)


def moment_cells(histogram: Histogram) -> dict[str, str]:
    """Returns the mean and the std of a distribution as they stand in a legend; a mean near zero is 0."""
    moments = histogram.moments
    if not moments.count:
        return {"mean": "none", "std": "none"}
    std = moments.std or 0.0
    mean = 0.0 if abs(moments.mean) < std / 200 else moments.mean
    return {"mean": compact(mean), "std": compact(std)}


def _density_arguments(
    name: str, axis: DensityAxis, histograms: Sequence[Histogram]
) -> dict[str, Any]:
    """Returns the curves, and the labels, limits and scales of their axes."""
    curves = [density(histogram, axis) for histogram in histograms]
    heights, is_log = choose_heights(curves, axis)
    label = "fraction per decade" if axis.is_log else "density"
    return {
        "across": f"|{name}|" if axis.is_log else name,
        "up": f"{label}, no zeros" if axis.without_zeros else label,
        "limits": axis.limits,
        "heights": heights,
        "is_log": (axis.is_log, is_log),
        "lines": curves,
    }


def _with_gaps(values: Sequence[float | None]) -> list[float]:
    """Replaces None by NaN, at which matplotlib interrupts a line."""
    return [math.nan if value is None else value for value in values]


def _logs(values: Sequence[float]) -> list[float]:
    """Returns log10 of numbers; of zero and of what is not finite NaN, which is not drawn."""
    is_drawn = [math.isfinite(value) and value > 0 for value in values]
    pairs = zip(values, is_drawn, strict=True)
    return [math.log10(value) if drawn else math.nan for value, drawn in pairs]


def _last(values: Sequence[float | None]) -> str:
    """Returns the last number of a line as it stands in a legend."""
    numbers = [value for value in values if value is not None]
    return f"{numbers[-1]:.1f}" if numbers else ""
