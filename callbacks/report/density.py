"""Density curves of several distributions over one axis, which is logarithmic where a common one would show spikes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..measure.bins import AROUND_ZERO, EDGES
from ..measure.histogram import Floats, Histogram

POINTS = 100
"""Points of a density curve, as in the lecture."""

CENTER = 0.9995
"""Fraction of the values, at either end, up to which the axis reaches."""

MARGIN = 0.02
"""Width of the margins of the axis, as a fraction of the range."""

MOST_ZEROS = 1 / 16
"""Fraction of exact zeros from which zeros are left out: they are a spike that hides the other values, as of ReLU."""

MOST = 0.84
"""Fraction of the values that are within one std of zero or, in a normal distribution, below one std."""

SPIKE = 64
"""Axis, in widths of a curve, beyond which the curve is a spike: widths of the layers that differ 30 times."""

HAIR = 1e-6
"""Range of the values, in that of the axis, below which they are drawn as one value."""

TAIL = 0.02
"""Fraction of the values that are too small for a logarithmic axis."""

NARROWEST = 30
"""Ratio of the ends of a logarithmic axis at least, for each distribution."""

FINEST, COARSEST = EDGES[AROUND_ZERO + 1], EDGES[-2]
"""Magnitudes between which values have bins of their own."""

PEAK = 20
"""Density, in that of an even distribution over the axis, from which a curve has a peak that hides other curves."""

DEPTH = 3000
"""Ratio of the ends of a logarithmic axis of densities at most."""

TINY, RESOLUTION = 1e-280, 1e-12
"""Margin of an axis at least, and beside the values: matplotlib replaces limits that are closer to each other."""


@dataclass(frozen=True, slots=True)
class DensityAxis:
    """Axis of the values of several distributions.

    Attributes:
        limits: Lowest and highest value, or magnitude.
        is_log: Whether the axis shows magnitudes on a logarithmic scale, which has no zero.
        without_zeros: Whether exact zeros are many, and left out.
    """

    limits: tuple[float, float]
    is_log: bool = False
    without_zeros: bool = False


def choose_axis(histograms: Sequence[Histogram]) -> DensityAxis:
    """Chooses the axis on which all distributions can be read.

    The axis is logarithmic if most values of a distribution are closer to zero than one 64th of a linear axis, and
    where values are too large or too small for bins of their own.
    """
    finite = [histogram for histogram in histograms if len(histogram.bins)]
    nonzero = [each for each in map(without, finite) if len(each.bins)]
    without_zeros = any(zero_fraction(histogram) > MOST_ZEROS for histogram in finite)
    limits = _linear_limits(nonzero if without_zeros else finite)
    reach = max(map(abs, limits))
    widths = [magnitude_quantile(histogram, MOST) for histogram in nonzero]
    is_resolved = FINEST < reach < COARSEST
    if widths and (min(widths) < reach / SPIKE or not is_resolved):
        return DensityAxis(_log_limits(nonzero), True, without_zeros)
    return DensityAxis(limits, False, without_zeros)


def density(histogram: Histogram, axis: DensityAxis) -> tuple[Floats, Floats]:
    """`(POINTS,)` values and densities over the part of the axis where the histogram has values.

    The area is the fraction of values that are shown; on a logarithmic axis densities are fractions a decade.
    """
    shown = without(histogram) if axis.without_zeros or axis.is_log else histogram
    if not len(shown.bins):
        return np.empty(0), np.empty(0)
    return _log_density(shown, axis) if axis.is_log else _linear_density(shown, axis)


def choose_heights(
    curves: Sequence[tuple[Floats, Floats]], axis: DensityAxis
) -> tuple[tuple[float, float], bool]:
    """Chooses the axis of the densities: its limits, and whether it is logarithmic.

    The axis is logarithmic where a curve has a peak that would press the other curves to the floor, such as the ends of
    saturated tanh.
    """
    densities = np.concatenate([np.empty(0), *(heights for _, heights in curves)])
    highest = float(densities.max(initial=0.0))
    low, high = axis.limits
    if axis.is_log or highest * (high - low) < PEAK:
        return (0.0, 1.05 * highest or 1.0), False
    lowest = max(float(densities[densities > 0].min()), highest / DEPTH)
    return (lowest / 2, 2 * highest), True


def zero_fraction(histogram: Histogram) -> float:
    """Fraction of the finite values that are exactly zero."""
    count = histogram.moments.count
    return histogram.zeros / count if count else 0.0


def without(histogram: Histogram) -> Histogram:
    """Returns a histogram without its exact zeros; the moments stay."""
    counts = np.where(
        histogram.bins == AROUND_ZERO,
        histogram.counts - histogram.zeros,
        histogram.counts,
    )
    filled = counts > 0
    return Histogram(histogram.moments, histogram.bins[filled], counts[filled], 0)


def magnitude_quantile(histogram: Histogram, fraction: float) -> float:
    """Returns the magnitude that this fraction of the values lies below, to the width of a bin."""
    magnitudes = np.maximum(np.abs(histogram.left), np.abs(histogram.right))
    order = np.argsort(magnitudes)
    below = histogram.counts[order].cumsum()
    place = int(np.searchsorted(below, fraction * int(below[-1])))
    return float(magnitudes[order][min(place, len(below) - 1)])


def _linear_limits(histograms: Sequence[Histogram]) -> tuple[float, float]:
    """Limits between which all but the outermost few values of every histogram lie."""
    lows = [histogram.quantile(1 - CENTER) for histogram in histograms]
    highs = [histogram.quantile(CENTER) for histogram in histograms]
    low, high = min(lows, default=0.0), max(highs, default=0.0)
    magnitude = max(abs(low), abs(high))
    margin = MARGIN * (high - low)
    if margin < max(RESOLUTION * magnitude, TINY):
        margin = 0.5 * magnitude if magnitude > TINY else 0.5
    return low - margin, high + margin


def _log_limits(histograms: Sequence[Histogram]) -> tuple[float, float]:
    """Limits between which nearly all magnitudes of every histogram lie, but for the smallest."""
    highs = [magnitude_quantile(histogram, CENTER) for histogram in histograms]
    lows = [magnitude_quantile(histogram, TAIL) for histogram in histograms]
    lows += [high / NARROWEST for high in highs]
    return max(min(lows), TINY), max(*highs, NARROWEST * TINY)


def _linear_density(histogram: Histogram, axis: DensityAxis) -> tuple[Floats, Floats]:
    limits = axis.limits
    low = max(limits[0], histogram.moments.low)
    high = min(limits[1], histogram.moments.high)
    if high - low < HAIR * (limits[1] - limits[0]):  # a spike as wide as one point
        half = (limits[1] - limits[0]) / POINTS / 2
        low, high = low - half, low + half
    edges = np.linspace(low, high, POINTS + 1)
    fractions = histogram.count_between(edges) / histogram.moments.count
    width = edges[1] - edges[0]
    return edges[:-1] + width / 2, fractions / width


def _log_density(histogram: Histogram, axis: DensityAxis) -> tuple[Floats, Floats]:
    low, high = np.log10(axis.limits)
    decades = np.linspace(low, high, POINTS + 1)
    edges = 10**decades
    positive = histogram.count_between(edges)
    negative = histogram.count_between(-edges[::-1])[::-1]
    fractions = (positive + negative) / histogram.moments.count
    width = decades[1] - decades[0]
    return 10 ** (decades[:-1] + width / 2), fractions / width
