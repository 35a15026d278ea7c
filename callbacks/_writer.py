"""The only file that knows loggers: numbers to every one of them, histograms and pictures where they can go."""

import contextlib
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.image import imread

from ._chart import chart_bins
from ._histogram import Histogram
from ._painter import Picture
from ._records import Record, joined
from ._summary import summary_of_picture, summary_of_record
from ._warnings import warn


class Writer:
    """Writes to the loggers of one fit, all records of a step at once: that costs less than one after the other.

    A logger that fails is warned of once and left out from then on: training goes on. One that fails at a picture still
    gets numbers, one that fails at numbers gets nothing more.

    Args:
        loggers: Those of the Trainer, told apart by what they can do.
    """

    def __init__(self, loggers: Sequence[Any] = ()) -> None:
        self._loggers, self._albums = list(loggers), list(loggers)
        self._record: Record = {}
        self.step = 0
        """Of the record that was collected."""

    @property
    def takes_pictures(self) -> bool:
        """Whether a picture has anywhere to go."""
        return any(map(_takes_pictures, self._albums))

    def collect(self, record: Record, step: int) -> None:
        """Takes a record, to be written with the others of its step, unless they have a tag in common."""
        together = joined(self._record, record) if step == self.step else None
        if together is None:
            self.send()
        self._record, self.step = together or record, step

    def send(self) -> None:
        """Writes what was collected: to TensorBoard as one event."""
        record, self._record = self._record, {}
        if not record:
            return
        self._write_to(self._loggers, "numbers", _write_record, record, self.step)
        self._albums = [logger for logger in self._albums if logger in self._loggers]

    def show(self, picture: Picture) -> None:
        """Writes a picture to the loggers that take one."""
        self._write_to(self._albums, "pictures", _write_picture, picture)

    def _write_to(self, loggers: list[Any], things: str, write: Callable[..., None], *what: Any) -> None:
        for logger in tuple(loggers):
            try:
                write(logger, *what)
            except Exception as error:
                loggers.remove(logger)
                warn(f"{type(logger).__name__} gets no more {things} of diagnostics. {type(error).__name__}: {error}")


def _write_record(logger: Any, record: Record, step: int) -> None:
    if (events := event_file(logger)) is not None:
        events.add_summary(summary_of_record(record), step)
        return
    metrics: dict[str, Any] = {tag: value for tag, value in record.items() if isinstance(value, float)}
    if type(logger).__name__ == "WandbLogger":
        metrics |= {tag: _wandb_histogram(value) for tag, value in record.items() if isinstance(value, Histogram)}
    logger.log_metrics(metrics, step)


def _write_picture(logger: Any, picture: Picture) -> None:
    if (events := event_file(logger)) is not None:
        events.add_summary(summary_of_picture(picture), picture.step)
        return
    image = imread(io.BytesIO(picture.png))  # (height, width, 4) in [0, 1]
    if takes_images(logger):
        logger.log_image(picture.tag, [image], step=picture.step)
    elif stores_images(logger):
        logger.experiment.log_image(logger.run_id, image, artifact_file=f"{picture.tag}/{picture.step:09d}.png")


def _wandb_histogram(histogram: Histogram) -> Any:
    import wandb  # is there, where its logger is

    ((limits, counts),) = chart_bins([histogram])
    return wandb.Histogram(np_histogram=(np.array(counts), np.array([histogram.moments.low, *limits])))


def _takes_pictures(logger: Any) -> bool:
    with contextlib.suppress(Exception):  # one that fails is told of when it gets numbers
        return event_file(logger) is not None or takes_images(logger) or stores_images(logger)
    return False


def takes_images(logger: Any) -> bool:
    """Tells whether a logger takes images, as that of Weights & Biases does."""
    return callable(getattr(logger, "log_image", None))


def stores_images(logger: Any) -> bool:
    """Tells whether a logger's client stores images with a run, as that of MLflow does."""
    return hasattr(logger, "run_id") and callable(getattr(logger.experiment, "log_image", None))


def event_file(logger: Any) -> Any:
    """Returns what writes events of a TensorBoard logger, None of any other.

    SummaryWriter offers no public way to add an event that holds several values.
    """
    experiment = getattr(logger, "experiment", None)
    if hasattr(type(experiment), "_get_file_writer"):
        return experiment._get_file_writer()  # type: ignore[union-attr]
    return None
