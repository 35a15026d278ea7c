"""Overview card: numbers of all layers at all steps, as the page and the pictures of loggers draw them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Line = tuple[Sequence[int], Sequence[float]]
"""Observed steps of a tag, ascending, and the number at each of them."""

EDGE = 1.01
"""Factor beyond the lowest and the highest number at which a logarithmic scale of colors ends."""

LEAST_RANGE = 10.0
"""Factor between the ends of such a scale at least: layers that are healthy differ less, and have like colors."""


class HeatMap(NamedTuple):
    """Kind of a panel of the card.

    Attributes:
        plot: First part of the tags.
        title: Title of the panel.
        limits: Lowest and highest number of the colors; None = those that there are, on a logarithmic scale.
    """

    plot: str
    title: str
    limits: tuple[float, float] | None = None


HEAT_MAPS = (
    HeatMap("activation_std", "std of activations"),
    HeatMap("activation_grad_std", "std of their gradients"),
    HeatMap("update_ratio", "log10 update : weight", (-5.0, -1.0)),
    HeatMap("saturation", "saturated", (0.0, 1.0)),
)

PROFILES = {
    "activation_std": "activations over depth",
    "activation_grad_std": "gradients over depth",
}
"""Titles of the profiles, by the plot whose scale over depth they show."""


NONFINITE = "nonfinite"
"""First part of the tags that count NaN and infinities."""


class Panel(NamedTuple):
    """One number of all layers at all steps.

    Attributes:
        plot: First part of the tags.
        title: Title of the panel.
        layers: Names of layers or parameters, from the first to the last.
        steps: `(n,)` observed steps, ascending, and those with NaN or infinities anywhere.
        grid: `(layers, n)` numbers; NaN where there is none.
        limits: Lowest and highest number of the colors.
        is_log: Whether the scale of the colors is logarithmic.
    """

    plot: str
    title: str
    layers: list[str]
    steps: list[int]
    grid: NDArray[np.float64]
    limits: tuple[float, float]
    is_log: bool


class Profile(NamedTuple):
    """Scale of all layers at the first and at the last observed step, from the first layer to the last.

    Attributes:
        title: Title of the profile.
        first: Number of each layer at its first step.
        last: Number of each layer at its last step.
    """

    title: str
    first: list[float]
    last: list[float]


def lines_of(numbers: Mapping[str, Line], plot: str) -> dict[str, Line]:
    """Returns the numbers of a plot by layer or parameter: of "saturation" those of `saturation/{layer}`.

    Args:
        numbers: Numbers over steps, by tag.
        plot: First part of the tags.
    """
    start = f"{plot}/"
    return {
        tag.removeprefix(start): line
        for tag, line in numbers.items()
        if tag.startswith(start) and len(line[0])
    }


def panels_of(numbers: Mapping[str, Line]) -> list[Panel]:
    """Returns the panels of the card, of what was measured.

    Args:
        numbers: Numbers over steps, by tag.

    Example:
        >>> numbers = {"saturation/tanh0": ([0, 2], [0.1, 0.2]), "saturation/tanh1": ([2], [0.3])}
        >>> (panel,) = panels_of(numbers)
        >>> panel.steps, panel.grid.tolist()
        ([0, 2], [[0.1, 0.2], [nan, 0.3]])
    """
    panels = []
    broken = broken_steps(numbers)
    for heat_map in HEAT_MAPS:
        if lines := lines_of(numbers, heat_map.plot):
            steps, grid = as_grid(lines, broken)
            limits = heat_map.limits or positive_limits(grid)
            is_log = heat_map.limits is None
            title = heat_map.title
            panel = Panel(
                heat_map.plot, title, list(lines), steps, grid, limits, is_log
            )
            panels.append(panel)
    return panels


def broken_steps(numbers: Mapping[str, Line]) -> set[int]:
    """Returns the steps at which there were NaN or infinities: a layer may have no other number from then on."""
    counts = lines_of(numbers, NONFINITE).values()
    return {step for line in counts for step, count in zip(*line, strict=True) if count}


def as_grid(
    lines: Mapping[str, Line], more: Iterable[int] = ()
) -> tuple[list[int], NDArray[np.float64]]:
    """Returns all steps of lines, and more, and `(layers, steps)` numbers, NaN where there is none."""
    steps = sorted({*more, *(step for steps, _ in lines.values() for step in steps)})
    columns = {step: column for column, step in enumerate(steps)}
    grid = np.full((len(lines), len(steps)), np.nan)
    for row, line in enumerate(lines.values()):
        for step, value in zip(*line, strict=True):
            grid[row, columns[step]] = value
    return steps, grid


def positive_limits(grid: NDArray[np.float64]) -> tuple[float, float]:
    """Returns limits around the finite numbers above zero, `LEAST_RANGE` apart at least; 0.1 and 1 without any."""
    positive = grid[np.isfinite(grid) & (grid > 0)]
    if not positive.size:
        return 0.1, 1.0
    low, high = float(positive.min()), float(positive.max())
    margin = max(EDGE, (LEAST_RANGE * low / high) ** 0.5)
    return low / margin, high * margin


def profile_of(numbers: Mapping[str, Line], plot: str) -> Profile:
    """Returns the scale of all layers over depth.

    Args:
        numbers: Numbers over steps, by tag.
        plot: A key of `PROFILES`.
    """
    values = [line[1] for line in lines_of(numbers, plot).values()]
    first, last = ([each[place] for each in values] for place in (0, -1))
    return Profile(PROFILES[plot], first, last)
