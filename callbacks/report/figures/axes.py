"""Axes: limits, ticks that do not collide, and labels."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import MaxNLocator, NullLocator

from .canvas import FONT

DIGIT = 0.02
"""Width of a character of a tick label such as 5M, as a fraction of the figure."""

LINE = 0.056
"""Height of a tick label, as a fraction of the figure."""

TINY, RESOLUTION = 1e-280, 1e-12
"""Margin of an axis at least, and beside the values: matplotlib replaces limits that are closer to each other."""


def limits_of(lines: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Limits of the axis of finite values, with margins."""
    values = [value for line in lines for value in line if math.isfinite(value)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    magnitude = max(abs(low), abs(high))
    margin = 0.05 * (high - low)
    if margin < max(RESOLUTION * magnitude, TINY):
        margin = 0.5 * magnitude if magnitude > TINY else 0.5
    return low - margin, high + margin


def set_steps(axes: Axes, steps: Sequence[int]) -> None:
    set_ticks(axes, axes.xaxis, limits_of([steps]), "step", is_whole=True)


def set_ticks(
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
    set_label(axes, axis, label + unit)


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


def set_decades(
    axes: Axes, axis: Axis, limits: tuple[float, float], label: str
) -> None:
    """Makes an axis logarithmic, with powers of ten as ticks; see `set_ticks`."""
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
    set_label(axes, axis, label)


def set_label(axes: Axes, axis: Axis, label: str) -> None:
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
