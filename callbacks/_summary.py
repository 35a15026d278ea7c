"""What TensorBoard keeps of a step: one message with all its numbers, histograms or pictures."""

import struct
from collections.abc import Mapping

import numpy as np
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary  # type: ignore  made by protoc

from ._histogram import Histogram
from ._painter import Picture

Record = Mapping[str, float | Histogram]
"""Tags and what they stand for at one step."""

CELLS, PARTS = 40, 16
"""How finely a chart resolves the range, and the share of the values.

TensorBoard draws 30 bins, and takes its time for each byte: it computes a checksum in Python.
"""

RGB = 3


def summary_of_record(record: Record) -> Summary:
    """Returns all numbers and histograms of a step as one message."""
    return Summary(value=[_value(tag, value) for tag, value in record.items()])


def summary_of_picture(picture: Picture) -> Summary:
    """Returns a picture as a message."""
    width, height = struct.unpack(">2I", picture.png[16:24])  # where every PNG has them
    image = Summary.Image(height=height, width=width, colorspace=RGB, encoded_image_string=picture.png)
    return Summary(value=[Summary.Value(tag=picture.tag, image=image)])


def _value(tag: str, value: float | Histogram) -> Summary.Value:
    if isinstance(value, Histogram):
        return Summary.Value(tag=tag, histo=_histogram(value))
    return Summary.Value(tag=tag, simple_value=value)


def _histogram(histogram: Histogram) -> HistogramProto:
    limits, counts = coarse_bins(histogram)
    moments = histogram.moments
    return HistogramProto(
        min=moments.low,
        max=moments.high,
        num=moments.count,
        sum=moments.count * moments.mean,
        sum_squares=moments.norm**2,
        bucket_limit=limits.tolist(),
        bucket=counts.tolist(),
    )


def coarse_bins(histogram: Histogram) -> tuple[np.ndarray, np.ndarray]:
    """Joins neighbouring bins into as many as a chart can show.

    A bin is no wider than a `CELLS`-th of the range and holds no more than a `PARTS`-th of the values, unless it was
    so before; the outermost stay as they are, for there a saturated activation has its values.

    Args:
        histogram: Of at least one finite value.

    Returns:
        `(m,)` right edges, ascending, and `(m,)` counts, both float64. The first bin begins at the lowest value.
    """
    left, right = histogram.left, histogram.right
    counts = histogram.counts.astype(np.float64)
    starts = np.flatnonzero(_begins(left, right, counts))
    return _with_gaps(left[starts], right[np.append(starts[1:], len(left)) - 1], np.add.reduceat(counts, starts))


def _begins(left: np.ndarray, right: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Tells of each bin whether one of the joined bins begins with it."""
    width = (right[-1] - left[0]) or 1.0
    cell = ((left - left[0]) * (CELLS / width)).astype(np.int64)
    part = ((counts.cumsum() - counts) * (PARTS / counts.sum())).astype(np.int64)
    begins = np.ones(len(left), dtype=bool)
    begins[1:] = (cell[1:] != cell[:-1]) | (part[1:] != part[:-1])
    # One value is a bin without width; of the others, the first and the last stay alone.
    wide = np.flatnonzero(right > left)
    if len(wide):
        ends = wide[[0, -1]]
        begins[ends] = begins[np.minimum(ends + 1, len(left) - 1)] = True
    return begins


def _with_gaps(left: np.ndarray, right: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Puts an empty bin wherever one does not begin where the one before it ends."""
    kept = np.ones(2 * len(left), dtype=bool)
    kept[0], kept[2::2] = False, left[1:] > right[:-1]
    limits = np.stack([left, right], axis=1).ravel()
    return limits[kept], np.stack([np.zeros_like(counts), counts], axis=1).ravel()[kept]
