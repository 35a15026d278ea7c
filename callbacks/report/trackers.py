"""Trackers: pictures and histograms of the loggers that have a method for them, by the package of their client.

A package is imported by the functions that write to its client: its logger has imported it before.
"""

import contextlib
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..measure.histogram import Histogram
from .display_bins import DisplayBins
from .drawing import Picture

CELLS = 64
"""Bins of equal width, of a tracker that takes no others."""

WritePicture = Callable[[Any, Picture], None]
WriteHistogram = Callable[[Any, str, Histogram, DisplayBins, int], None]


class Tracker(NamedTuple):
    """Methods of the client behind a logger.

    Attributes:
        write_picture: Writes a picture to a client.
        write_histogram: Writes a histogram by tag, with its bins for display and its step; None if there is no method.
    """

    write_picture: WritePicture
    write_histogram: WriteHistogram | None = None


def tracker_of(logger: Any) -> Tracker | None:
    """Returns the methods of a logger's client; None if it is not known, or the logger fails, as its numbers will."""
    packages: list[str] = []
    with contextlib.suppress(Exception):
        classes = type(logger.experiment).__mro__
        packages = [base.__module__.split(".")[0] for base in classes]
    known = [TRACKERS[package] for package in packages if package in TRACKERS]
    return known[0] if known else None


def image_of(picture: Picture) -> Any:
    """Returns a picture as a `PIL.Image.Image` in colors."""
    from PIL import Image  # comes with matplotlib, without which there are no pictures

    return Image.open(io.BytesIO(picture.png)).convert("RGB")


def edges_of(histogram: Histogram, bins: DisplayBins) -> np.ndarray:
    """Returns the `(n + 1,)` edges of bins for display."""
    return np.array([histogram.moments.low, *bins.limits])


def comet_picture(client: Any, picture: Picture) -> None:
    """Writes to `comet_ml.CometExperiment`."""
    client.log_image(image_of(picture), name=picture.tag, step=picture.step)


def comet_histogram(
    client: Any, tag: str, histogram: Histogram, bins: DisplayBins, step: int
) -> None:
    """Counts the middles of bins into the bins of Comet, which are a tenth wide."""
    from comet_ml.data_structure import (  # pyright: ignore[reportMissingImports]
        Histogram as CometHistogram,
    )

    edges, counts = edges_of(histogram, bins), np.array(bins.counts)
    filled = counts > 0
    converted = CometHistogram()
    converted.add(
        (edges[:-1] + edges[1:])[filled] / 2, counts=counts[filled].astype(int)
    )
    client.log_histogram_3d(converted, name=tag, step=step)


def neptune_picture(client: Any, picture: Picture) -> None:
    """Writes to `neptune.Run`, in a folder of its own: a field cannot be the begin of other fields, as tags can."""
    from neptune.types import File  # pyright: ignore[reportMissingImports]

    file = File.as_image(image_of(picture))
    client[f"pictures/{picture.tag}"].append(file, step=picture.step)


def aim_picture(client: Any, picture: Picture) -> None:
    """Writes to `aim.Run`."""
    import aim  # pyright: ignore[reportMissingImports]

    image = aim.Image(image_of(picture), format="png")
    client.track(image, name=picture.tag, step=picture.step)


def aim_histogram(
    client: Any, tag: str, histogram: Histogram, bins: DisplayBins, step: int
) -> None:
    """Writes counts in bins of equal width: `aim.Distribution` has no others."""
    import aim  # pyright: ignore[reportMissingImports]

    limits = (histogram.moments.low, histogram.moments.high)
    counts = histogram.count_between(np.linspace(*limits, CELLS + 1))
    distribution = aim.Distribution(hist=counts, bin_range=limits)
    client.track(distribution, name=tag, step=step)


def trackio_picture(client: Any, picture: Picture) -> None:
    """Writes to `trackio.Run`."""
    import trackio  # pyright: ignore[reportMissingImports]

    image = trackio.Image(np.asarray(image_of(picture)))
    client.log({picture.tag: image}, step=picture.step)


def trackio_histogram(
    client: Any, tag: str, histogram: Histogram, bins: DisplayBins, step: int
) -> None:
    """Writes a histogram with the bins for display."""
    import trackio  # pyright: ignore[reportMissingImports]

    counts = (np.array(bins.counts), edges_of(histogram, bins))
    client.log({tag: trackio.Histogram(np_histogram=counts)}, step=step)


TRACKERS = {
    "comet_ml": Tracker(comet_picture, comet_histogram),
    "neptune": Tracker(neptune_picture),
    "aim": Tracker(aim_picture, aim_histogram),
    "trackio": Tracker(trackio_picture, trackio_histogram),
}
"""Trackers by the package of the client's class."""
