"""What TensorBoard keeps of a step: one message with all its numbers, histograms or pictures."""

import struct

from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary  # type: ignore  made by protoc

from ._chart import chart_bins
from ._histogram import Histogram
from ._painter import Picture
from ._records import Record
from ._statistics import Moments

RGB = 3


def summary_of_record(record: Record) -> Summary:
    """Returns all numbers and histograms of a step as one message."""
    histograms = [value for value in record.values() if isinstance(value, Histogram)]
    bins = iter(chart_bins(histograms))
    return Summary(
        value=[
            Summary.Value(tag=tag, histo=_histogram(value.moments, *next(bins)))
            if isinstance(value, Histogram)
            else Summary.Value(tag=tag, simple_value=value)
            for tag, value in record.items()
        ]
    )


def summary_of_picture(picture: Picture) -> Summary:
    """Returns a picture as a message."""
    width, height = struct.unpack(">2I", picture.png[16:24])  # where every PNG has them
    image = Summary.Image(height=height, width=width, colorspace=RGB, encoded_image_string=picture.png)
    return Summary(value=[Summary.Value(tag=picture.tag, image=image)])


def _histogram(moments: Moments, limits: list[float], counts: list[float]) -> HistogramProto:
    return HistogramProto(
        min=moments.low,
        max=moments.high,
        num=moments.count,
        sum=moments.count * moments.mean,
        sum_squares=moments.norm**2,
        bucket_limit=limits,
        bucket=counts,
    )
