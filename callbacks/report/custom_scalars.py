"""Layout of TensorBoard's Custom Scalars page: the charts of the overview, and the layers of small models.

TensorBoard merges the layouts of all runs by titles, so that these and the tags are the same for every model.
`SummaryWriter.add_custom_scalars` is not used: pages that it writes are empty (PyTorch issue 125298).
"""

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from .overview import CHARTS, OverviewChart, healthy_tag, overview_tag
from .tensorboard import bytes_value

CONFIG_TAG = "custom_scalars__config__"
"""Tag that TensorBoard reads the layout from."""

LAYOUT = "tensorboard.plugins.custom_scalar.layout_pb2"
"""Module of the layout's messages; tensorboardX has old ones, which TensorBoard cannot read."""

FEW_LINES = 4
"""Lines of one run that can be told apart in a chart: all have the run's color."""


def layout_value(sizes: Mapping[str, int], messages: Any) -> Any:
    """Returns the layout as a value of a summary.

    Args:
        sizes: Number of layers or parameters by plot, of those that are written.
        messages: Module of the event file's messages.

    Raises:
        ImportError: If TensorBoard is not installed.
    """
    proto = import_module(LAYOUT)
    charts = [chart for chart in CHARTS if chart.plot in sizes]
    overview = [_margin_chart(chart, proto) for chart in charts]
    categories = [proto.Category(title="Overview", chart=overview)]
    small = [chart for chart in charts if 1 < sizes[chart.plot] <= FEW_LINES]
    if small:
        lines = [_line_chart(chart, proto) for chart in small]
        categories.append(proto.Category(title="Layer by layer", chart=lines))
    layout = proto.Layout(version=0, category=categories)
    data = layout.SerializeToString()
    return bytes_value(CONFIG_TAG, data, "custom_scalars", messages)


def _margin_chart(chart: OverviewChart, proto: Any) -> Any:
    """Returns a chart of the median with a band from the lowest to the highest number."""
    tags = [overview_tag]
    if chart.healthy is not None:
        tags.append(healthy_tag)
    series = [
        proto.MarginChartContent.Series(
            value=tag(chart.plot, "median"),
            lower=tag(chart.plot, "low"),
            upper=tag(chart.plot, "high"),
        )
        for tag in tags
    ]
    margin = proto.MarginChartContent(series=series)
    return proto.Chart(title=chart.title, margin=margin)


def _line_chart(chart: OverviewChart, proto: Any) -> Any:
    """Returns a chart with a line a layer. TensorBoard matches the beginning of a tag only."""
    pattern = f"{re.escape(chart.plot)}/.+$"
    title = f"{chart.plot} of each"
    return proto.Chart(
        title=title, multiline=proto.MultilineChartContent(tag=[pattern])
    )
