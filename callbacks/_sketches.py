"""What is to be drawn, as plain numbers: a picture costs the training no more than these."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ._figures import POINTS, evenly, short
from ._histogram import Floats, Histogram
from ._saturation import Saturation

CENTRE = 0.9995
"""Share of a layer's values, at either end, that the axis is made to hold."""


class Sketch(NamedTuple):
    """The name of a function of `_figures`, and its arguments: strings, numbers and arrays."""

    figure: str
    arguments: dict[str, Any]


class Curve(NamedTuple):
    """One line of a picture of densities: what it is of, what the legend adds, and the values."""

    name: str
    remark: str
    histogram: Histogram


def sketch_densities(title: str, axis: str, curves: Sequence[Curve]) -> Sketch:
    """Says how the values of each layer are spread, as far as a picture can hold them."""
    kept = evenly(curves)
    limits = _range([curve.histogram for curve in kept])
    lines = [(f"{short(curve.name)}: {curve.remark}", *_density(curve.histogram, limits)) for curve in kept]
    return Sketch("density_figure", {"title": title, "axis": axis, "limits": limits, "lines": lines, "of": len(curves)})


def sketch_ratios(title: str, steps: Sequence[int], ratios: Mapping[str, Sequence[float | None]]) -> Sketch:
    """Says how far updates moved their parameters."""
    return Sketch("ratio_figure", {"title": title, "steps": steps, "ratios": ratios})


def sketch_saturation(title: str, saturation: Saturation) -> Sketch:
    """Says which values of a layer are saturated, given that they were kept."""
    assert saturation.shown is not None
    return Sketch("saturation_figure", {"title": title, "shown": saturation.shown})


def _range(histograms: Sequence[Histogram]) -> tuple[float, float]:
    """The values that all but the outermost few of every layer lie between."""
    low = min((h.quantile(1 - CENTRE) for h in histograms), default=0.0)
    high = max((h.quantile(CENTRE) for h in histograms), default=0.0)
    room = 0.02 * (high - low) or 0.5 * abs(high) or 0.5
    return low - room, high + room


def _density(histogram: Histogram, limits: tuple[float, float]) -> tuple[Floats, Floats]:
    """`(POINTS,)` values and densities over the part of the axis where there are values."""
    low = max(limits[0], histogram.moments.low)
    high = min(limits[1], histogram.moments.high)
    if not low < high:  # a constant: a spike as wide as one point of the axis
        low, high = low - (limits[1] - limits[0]) / POINTS / 2, low + (limits[1] - limits[0]) / POINTS / 2
    edges = np.linspace(low, high, POINTS + 1)
    density = histogram.count_between(edges) / (histogram.moments.count * (edges[1] - edges[0]))
    return (edges[1:] + edges[:-1]) / 2, density
