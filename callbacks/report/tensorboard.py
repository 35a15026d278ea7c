"""TensorBoard: one event with all numbers and histograms of a step, and events with pictures.

The messages are imported by the functions that make them: a fit with other loggers needs neither TensorBoard nor
tensorboardX.
"""

import math
import struct
from collections.abc import Container
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..measure.histogram import Histogram
from .descriptions import description_of
from .display_bins import DisplayBins, display_bins
from .drawing import Picture
from .record import Record, histograms_in, numbers_in

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary  # type: ignore[attr-defined]

TENSORBOARD = "tensorboard.compat.proto.summary_pb2"
"""Module of TensorBoard's messages."""

PLUGINS = {
    "simple_value": ("scalars", 1),
    "histo": ("histograms", 2),
    "image": ("images", 3),
}
"""TensorBoard's plugin by kind of value, and the number of the class of its data."""

RGB = 3
"""TensorBoard's number of a color space."""


def event_file(logger: Any) -> Any | None:
    """Returns the object that writes the event file of a TensorBoard logger; None of any other logger.

    SummaryWriter has no public method for an event with several values: its `add_scalar` and `add_histogram` write an
    event each, which took six times as long.
    """
    experiment = getattr(logger, "experiment", None)
    if hasattr(type(experiment), "_get_file_writer"):
        return experiment._get_file_writer()  # type: ignore[union-attr]
    return None


def messages_for(events: Any) -> Any:
    """Returns the protobuf messages that a writer of event files takes.

    Lightning writes with tensorboardX where TensorBoard is not installed; tensorboardX has messages of its own.
    """
    packages = {base.__module__.split(".")[0] for base in type(events).__mro__}
    is_own = "tensorboardX" in packages
    return import_module("tensorboardX.proto.summary_pb2" if is_own else TENSORBOARD)


def record_summary(
    record: Record, messages: Any = None, described: Container[str] = ()
) -> "Summary":
    """Returns all numbers and histograms of a step as one message.

    Args:
        record: Numbers and histograms by tag.
        messages: Module of the messages; None = TensorBoard's.
        described: Tags that have their description already: TensorBoard takes that of a tag's first event.
    """
    messages = messages or import_module(TENSORBOARD)
    summary = messages.Summary()
    for tag, number in numbers_in(record).items():
        summary.value.add(tag=encodable(tag), simple_value=_as_number(number))
    histograms = histograms_in(record)
    bins = display_bins(list(histograms.values()))
    for (tag, histogram), display in zip(histograms.items(), bins, strict=True):
        summary.value.add(
            tag=encodable(tag), histo=_histogram_message(histogram, display, messages)
        )
    for value in summary.value:
        if value.tag not in described:
            describe(value)
    return summary


def picture_summary(picture: Picture, messages: Any = None) -> "Summary":
    """Returns a picture as a message of TensorBoard, or of another module of messages."""
    messages = messages or import_module(TENSORBOARD)
    width, height = struct.unpack(
        ">2I", picture.png[16:24]
    )  # in the header of every PNG
    image = messages.Summary.Image(
        height=height, width=width, colorspace=RGB, encoded_image_string=picture.png
    )
    value = messages.Summary.Value(tag=encodable(picture.tag), image=image)
    describe(value)
    return messages.Summary(value=[value])


def describe(value: Any) -> None:
    """Adds what TensorBoard shows beside the chart of a tag."""
    plugin, data_class = PLUGINS[value.WhichOneof("value")]
    value.metadata.summary_description = description_of(value.tag)
    # TensorBoard's data server takes a description only beside the names of the plugin and of the class of its data.
    value.metadata.plugin_data.plugin_name = plugin
    if hasattr(value.metadata, "data_class"):  # not in tensorboardX
        value.metadata.data_class = data_class


def bytes_value(tag: str, data: bytes, plugin: str, messages: Any) -> Any:
    """Returns bytes for a plugin of TensorBoard; of a plugin that it does not have they are kept, and not shown."""
    tensors = import_module(messages.__name__.replace("summary_pb2", "tensor_pb2"))
    types = import_module(messages.__name__.replace("summary_pb2", "types_pb2"))
    return messages.Summary.Value(
        tag=tag,
        metadata=messages.SummaryMetadata(
            plugin_data=messages.SummaryMetadata.PluginData(plugin_name=plugin)
        ),
        tensor=tensors.TensorProto(dtype=types.DT_STRING, string_val=[data]),
    )


def encodable(tag: str) -> str:
    """Replaces what UTF-8 cannot encode, lone surrogates: a message with one cannot be made."""
    return tag if tag.isascii() else tag.encode(errors="replace").decode()


def _as_number(value: Any) -> float:
    """Returns a value as a number: NaN if it is none, which must not cost the other values of the step."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _histogram_message(
    histogram: Histogram, bins: DisplayBins, messages: Any
) -> "HistogramProto":
    moments = histogram.moments
    return messages.HistogramProto(
        min=moments.low,
        max=moments.high,
        num=moments.count,
        sum=moments.count * moments.mean,
        sum_squares=moments.norm**2,
        bucket_limit=bins.limits,
        bucket=bins.counts,
    )
