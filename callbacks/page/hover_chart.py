"""Curves over steps, drawn by Altair: the reader's browser draws them with Vega, and shows numbers under the mouse."""

import json
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import altair as alt
import vl_convert

from ..probe.selection import evenly_spread
from .curves import Curve, Curves

MOST_POINTS = 12_000
"""Points of all charts of a page, about 60 bytes each; of more, some of each line, evenly spread."""

FEWEST_POINTS = 20
"""Points of a line at least."""

FEW_LINES = 8
"""Lines that a legend has room for; of more, the names are under the mouse alone."""

CONFIG: dict[str, Any] = {
    "background": None,
    "view": {"stroke": None},
    "axis": {
        **dict.fromkeys(("domainColor", "labelColor", "tickColor"), "currentColor"),
        "titleColor": "currentColor",
        "gridColor": "currentColor",
        "gridOpacity": 0.15,
        "labelFontSize": 11,
        "titleFontWeight": "normal",
    },
    "legend": {"labelColor": "currentColor", "titleColor": "currentColor"},
    "font": "system-ui, sans-serif",
}
"""Colors of the page, light or dark."""


def vega_script() -> str:
    """Returns the JavaScript of Vega, without the network, and of the page, which draws the charts with it."""
    folder = files(__name__.rpartition(".")[0])
    return vl_convert.javascript_bundle((folder / "page.js").read_text("utf-8"))


def hover_spec(curves: Curves, description: str, points: int) -> str:
    """Returns a chart of Vega-Lite as JSON that may stand in HTML.

    Args:
        curves: Curves over steps.
        description: What the chart shows, for those who cannot see it.
        points: Points of a line at most.
    """
    layers = [*band_layers(curves), *line_layers(curves, points)]
    chart = alt.layer(*layers).properties(
        width="container", height=240, description=description
    )
    spec = {**chart.to_dict(), "config": CONFIG}
    del spec["$schema"]  # an address, which nobody asks for
    text = json.dumps(spec, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def points_of_line(figures: int) -> int:
    """Returns the number of points of a line, of a page with so many lines."""
    return max(MOST_POINTS // max(figures, 1), FEWEST_POINTS)


def rows_of(curves: Curves, points: int) -> list[dict[str, Any]]:
    """Returns a row a point: the name of its line, its step and its value, those that can be drawn."""
    rows = []
    for line in curves.lines:
        drawn = [
            (step, value)
            for step, value in zip(line.steps, line.values, strict=True)
            if math.isfinite(value) and (value > 0 or not curves.is_log)
        ]
        for step, value in evenly_spread(drawn, points):
            number = float(f"{value:.4g}")  # as it is shown
            rows.append({curves.name: line.name, "step": step, curves.label: number})
    return rows


def line_layers(curves: Curves, points: int) -> list[alt.Chart]:
    """Returns the lines, and the points that the mouse finds."""
    base = alt.Chart(alt.InlineData(values=rows_of(curves, points))).encode(
        x=alt.X("step:Q", scale=step_scale(), axis=step_axis(curves.lines)),
        y=alt.Y(
            field=curves.label,
            type="quantitative",
            title=curves.label,
            scale=value_scale(curves),
            axis=alt.Axis(tickCount=5),
        ),
        color=by_name(alt.Color, curves, [line.color for line in curves.lines]),
    )
    lines = base.mark_line(strokeWidth=1.6, clip=True)
    if any(line.is_dashed for line in curves.lines):
        dashes = [[5, 3] if line.is_dashed else [1, 0] for line in curves.lines]
        lines = lines.encode(strokeDash=by_name(alt.StrokeDash, curves, dashes))
    # The whole row is shown: of single columns, Vega-Lite finds no names where the nearest point is looked for.
    spots = base.mark_circle(size=70, clip=True, tooltip=alt.TooltipContent("data"))
    nearest = alt.selection_point(
        on="pointerover", nearest=True, empty=False, fields=[curves.name, "step"]
    )
    opacity = alt.condition(nearest, alt.value(1), alt.value(0))
    return [lines, spots.encode(opacity=opacity).add_params(nearest)]


def band_layers(curves: Curves) -> list[alt.Chart]:
    """Returns the healthy band, and its middle."""
    if curves.band is None:
        return []
    low, usual, high = curves.band
    band = alt.Chart(alt.InlineData(values=[{"low": low, "high": high}])).mark_rect(
        color="#2a9d6f", opacity=0.15
    )
    middle = alt.Chart(alt.InlineData(values=[{"usual": usual}])).mark_rule(
        color="currentColor", strokeDash=[4, 3], strokeWidth=0.8
    )
    return [band.encode(y="low:Q", y2="high:Q"), middle.encode(y="usual:Q")]


def step_scale() -> alt.Scale:
    """Returns the scale of steps: the first ones stand apart."""
    return alt.Scale(type="symlog", constant=10, domainMin=0, nice=False)


def step_axis(lines: Sequence[Curve]) -> alt.Axis:
    """Returns the axis of steps, with a tick at zero and at powers of ten."""
    last = max((line.steps[-1] for line in lines), default=1)
    powers = [10**power for power in range(1, len(str(last)))]
    return alt.Axis(title="step", values=[0, *powers], grid=False, format="d")


def value_scale(curves: Curves) -> alt.Scale:
    """Returns the scale of the values."""
    if curves.is_log:
        return alt.Scale(type="log", domain=list(curves.log_limits), nice=False)
    return alt.Scale(zero=False)


def by_name(channel: Any, curves: Curves, values: Sequence[Any]) -> Any:
    """Returns a channel of Altair with a value a line, and a legend below the chart, if it has room for all lines."""
    scale = alt.Scale(domain=[line.name for line in curves.lines], range=values)
    if len(curves.lines) > FEW_LINES:
        legend = None
    else:
        legend = alt.Legend(
            title=None, orient="bottom", columns=2, labelLimit=340, symbolType="stroke"
        )
    return channel(field=curves.name, type="nominal", scale=scale, legend=legend)
