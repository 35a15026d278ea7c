"""What TensorBoard keeps of a step: one message with all its numbers, histograms or pictures."""

import struct
from collections.abc import Mapping

import numpy as np
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary  # type: ignore  made by protoc

from ._histogram import Histogram
from ._painter import Picture

Record = Mapping[str, float | Histogram]
"""Tags and what they stand for at one step."""

CELLS = 30
"""Bins that TensorBoard draws of a histogram."""

LEVELS = np.array([0.0668, 0.1587, 0.3085, 0.5, 0.6915, 0.8413, 0.9332])
"""Shares of the values whose quantiles it draws of a distribution."""

HEAVY = 1 / 16
"""Share of the values with which a bin stays as it is: a peak, as of zeros."""

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
    """Joins neighbouring bins into as few as a chart shows, for TensorBoard takes its time for each byte.

    Those that begin in the same `CELLS`-th of the range are joined, but for a cut at each of the `LEVELS`. `HEAVY` bins
    stay alone, and the outermost, where a saturated activation has its values. Where there are no values over more than
    such a part of the range, the bin is empty.

    Args:
        histogram: Of at least one finite value.

    Returns:
        `(m,)` right edges, ascending, and `(m,)` counts, both float64. The first bin begins at the lowest value.
    """
    left, right, counts = histogram.left, histogram.right, histogram.counts
    cell = (right[-1] / CELLS - left[0] / CELLS) or 1.0  # which cannot overflow
    alone = _stay_alone(left, right, counts)
    starts = np.flatnonzero(_begin(left / cell, counts) | alone | np.append(False, alone[:-1]))
    ends = right[np.append(starts[1:], len(left)) - 1]
    gaps = left[starts[1:]] / cell - ends[:-1] / cell
    empty = np.append(False, (gaps > 1) | alone[starts[1:]] & (gaps > 0))
    return _with_empty(empty, left[starts], ends, np.add.reduceat(counts, starts))


def _begin(left: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Tells of each bin whether it is the first of a cell, or above a level; left edges are given in cells."""
    cell = (left - left[0]).astype(np.int64)
    below = counts.cumsum()
    begins = np.ones(len(left) + 1, dtype=bool)
    begins[1:-1] = cell[1:] != cell[:-1]
    begins[below.searchsorted(LEVELS * below[-1]) + 1] = True
    return begins[:-1]


def _stay_alone(left: np.ndarray, right: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Tells of each bin whether it is not joined: a peak, and the first and the last of more than one value."""
    alone = counts > HEAVY * counts.sum()
    wide = np.flatnonzero(right > left)
    alone[wide[:1]] = alone[wide[-1:]] = True
    return alone


def _with_empty(
    empty: np.ndarray, left: np.ndarray, right: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Puts an empty bin before each that is to have one; others begin where the one before them ends."""
    places = np.arange(len(counts)) + empty.cumsum()
    joined = np.zeros((2, places[-1] + 1))
    joined[:, places] = right, counts
    joined[0, places[empty] - 1] = left[empty]
    return joined[0], joined[1]
