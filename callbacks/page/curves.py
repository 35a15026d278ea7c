"""Curves over steps, as data that either drawer of the page takes: losses of all runs, and numbers of all layers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from .._card import positive_limits
from .._healthy import UPDATE_RATIOS, Band
from .losses import losses_of
from .run import Run
from .svg import run_color


class Curve(NamedTuple):
    """Numbers of one tag over steps.

    Attributes:
        name: Name beside the line, of a layer or parameter, or of a run and its loss.
        steps: `(n,)` steps, ascending.
        values: `(n,)` numbers.
        color: Color as "#rrggbb".
        is_dashed: Whether the line is dashed.
    """

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    color: str
    is_dashed: bool = False


class Curves(NamedTuple):
    """Chart of lines over steps.

    Attributes:
        name: Column of the names of the lines: "layer", "parameter", or "curve" of the losses of runs.
        label: Label of the axis of the values.
        lines: Lines, of layers from the first to the last.
        is_log: Whether the axis of the values is logarithmic.
        band: Healthy values, if they are drawn.
    """

    name: str
    label: str
    lines: Sequence[Curve]
    is_log: bool = False
    band: Band | None = None

    @property
    def log_limits(self) -> tuple[float, float]:
        """Limits of a logarithmic axis of the values."""
        values = [value for line in self.lines for value in line.values]
        return positive_limits(np.array(values))


class LayerChart(NamedTuple):
    """Chart with a line a layer or parameter.

    Attributes:
        plot: First part of the tags.
        title: Caption.
        text: What it shows, in words.
        name: "layer" or "parameter".
        label: Label of the axis of the values.
        is_log: Whether the axis of the values is logarithmic.
        band: Healthy values, if they are drawn.
    """

    plot: str
    title: str
    text: str
    name: str
    label: str
    is_log: bool = False
    band: Band | None = None


LAYER_CHARTS = (
    LayerChart(
        *("activation_std", "Scale of activations over steps"),
        "A line a layer: side by side in a healthy network, within a factor of 3 at the first step.",
        *("layer", "std of activations", True),
    ),
    LayerChart(
        *("activation_grad_std", "Scale of gradients over steps"),
        "A line a layer, of the gradients of its outputs: side by side in a healthy network.",
        *("layer", "std of their gradients", True),
    ),
    LayerChart(
        *("update_ratio", "Update ratios"),
        "log10 of the size of updates beside that of the weights; "
        f"the band from {UPDATE_RATIOS.low:g} to {UPDATE_RATIOS.high:g} is healthy.",
        *("parameter", "log10 update : weight", False, UPDATE_RATIOS),
    ),
    LayerChart(
        *("saturation", "Saturated fraction over steps"),
        "A line a layer: below 0.15 at first of a healthy tanh, about half of ReLU, whose zeros are how it works.",
        *("layer", "saturated fraction"),
    ),
)
"""Charts of one run, in the order of the page."""


def loss_curves(runs: Sequence[Run]) -> Curves:
    """Returns the losses of all runs, training solid and validation dashed."""
    lines = [
        Curve(
            f"{run.name}, {tag}" if len(runs) > 1 else tag,
            *series,
            color=run_color(number),
            is_dashed=place > 0,
        )
        for number, run in enumerate(runs)
        for place, (tag, series) in enumerate(losses_of(run).items())
    ]
    return Curves("curve", "loss", lines)


def layer_curves(run: Run, chart: LayerChart) -> Curves | None:
    """Returns a line a layer or parameter of a run; None if it has no such numbers."""
    series = run.of_plot(chart.plot)
    if not series:
        return None
    lines = [
        Curve(name, *line, color=shade(number, len(series)))
        for number, (name, line) in enumerate(series.items())
    ]
    return Curves(chart.name, chart.label, lines, chart.is_log, chart.band)


def shade(number: int, count: int) -> str:
    """Returns the color of a layer or a step, from blue to red."""
    return to_hex(colormaps["turbo"](0.08 + 0.84 * number / max(count - 1, 1)))
