"""Overview: the lowest, median and highest number over layers or parameters, for charts of a whole model."""

import math
from collections.abc import Mapping
from statistics import median
from typing import NamedTuple

from .._healthy import UPDATE_RATIOS, Band


class OverviewChart(NamedTuple):
    """Chart that shows one number of all layers or parameters.

    Attributes:
        plot: First part of the tags that it summarizes.
        title: Title of the chart, equal over runs, so that TensorBoard shows them in one.
        healthy: Lowest, usual and highest value that is healthy, of a chart that has such a band.
    """

    plot: str
    title: str
    healthy: Band | None = None


CHARTS = (
    OverviewChart("activation_std", "std of activations over layers"),
    OverviewChart("activation_grad_std", "std of gradients of activations over layers"),
    OverviewChart(
        "update_ratio",
        "log10 update : weight, and the healthy band",
        UPDATE_RATIOS,
    ),
    OverviewChart("saturation", "saturated fraction over layers"),
    OverviewChart("dead_units", "fraction of dead units over layers"),
    OverviewChart("grad_data_ratio", "std of gradient : std of weight"),
)
"""Charts in the order of the page."""

LEVELS = ("low", "median", "high")


def overview_tag(plot: str, level: str) -> str:
    """Returns the tag of a number of the overview."""
    return f"overview/{plot}/{level}"


def healthy_tag(plot: str, level: str) -> str:
    """Returns the tag of a limit of the healthy band, or of its middle."""
    return f"overview/{plot}/healthy_{level}"


def overview_of(numbers: Mapping[str, float]) -> dict[str, float]:
    """Returns the lowest, median and highest finite number of each chart, and the limits of healthy bands.

    Args:
        numbers: Numbers of one step by tag.

    Example:
        >>> overview_of({"saturation/tanh0": 0.1, "saturation/tanh1": 0.4, "train/loss": 2.0})
        {'overview/saturation/low': 0.1, 'overview/saturation/median': 0.25, 'overview/saturation/high': 0.4}
    """
    groups = numbers_by_plot(numbers)
    overview: dict[str, float] = {}
    for chart in CHARTS:
        if group := groups.get(chart.plot):
            levels = zip(LEVELS, (min(group), median(group), max(group)), strict=True)
            overview |= {overview_tag(chart.plot, name): each for name, each in levels}
            limits = zip(LEVELS, chart.healthy or (), strict=False)
            overview |= {healthy_tag(chart.plot, name): each for name, each in limits}
    return overview


def numbers_by_plot(numbers: Mapping[str, float]) -> dict[str, list[float]]:
    """Returns the finite numbers of each chart."""
    groups: dict[str, list[float]] = {chart.plot: [] for chart in CHARTS}
    for tag, number in numbers.items():
        plot, _, name = tag.partition("/")
        if name and plot in groups and math.isfinite(number):
            groups[plot].append(number)
    return groups
