"""Loggers: numbers to all of them, histograms and pictures to those that take them."""

import contextlib
import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .._messages import warn
from .display_bins import display_bins
from .drawing import Picture
from .event_points import EventPoints
from .record import Record, histograms_in, numbers_in
from .tensorboard import event_file, messages_for, picture_summary, record_summary


class Writer:
    """Writes to the loggers of one fit.

    A logger that fails is warned of once. If it failed at numbers it gets nothing more; if it failed at a picture it
    still gets numbers. The other loggers go on.

    Args:
        loggers: Loggers of the Trainer, told apart by their methods.
    """

    def __init__(self, loggers: Sequence[Any] = ()) -> None:
        self._loggers = list(loggers)
        self._picture_loggers = list(loggers)
        self._event_points = EventPoints()

    @property
    def takes_pictures(self) -> bool:
        """True if a logger takes pictures."""
        return any(map(_takes_pictures, self._picture_loggers))

    def write_record(self, record: Record, step: int) -> None:
        """Writes the numbers and histograms of a step: one row of each logger, one event of TensorBoard.

        The event has those values only that TensorBoard can show, see `event_points`.
        """
        selected = self._event_points.select(record, step)

        def write(logger: Any) -> None:
            if event_file(logger) is None:
                _write_row(logger, record, step)
            elif selected:
                _write_event(logger, selected, step)

        self._write_numbers(write)

    def write_last(self) -> None:
        """Writes the last value of each tag to event files that do not have it yet."""
        for step, record in self._event_points.take_last().items():
            self._write_numbers(partial(_write_event, record=record, step=step))

    def write_text(self, tag: str, text: str, step: int) -> None:
        """Writes Markdown to the Text page of TensorBoard."""

        def write(logger: Any) -> None:
            if event_file(logger) is not None:
                logger.experiment.add_text(tag, text, step)

        self._write(self._picture_loggers, "texts", write)

    def write_picture(self, picture: Picture) -> None:
        """Writes a picture."""
        self._write(
            self._picture_loggers,
            "pictures",
            lambda logger: _write_picture(logger, picture),
        )

    def _write_numbers(self, write: Callable[[Any], None]) -> None:
        self._write(self._loggers, "numbers", write)
        self._picture_loggers = [
            logger for logger in self._picture_loggers if logger in self._loggers
        ]

    def _write(
        self, loggers: list[Any], kind: str, write: Callable[[Any], None]
    ) -> None:
        for logger in tuple(loggers):
            try:
                write(logger)
            except Exception as error:
                loggers.remove(logger)
                name, reason = type(logger).__name__, f"{type(error).__name__}: {error}"
                warn(f"{name} gets no more {kind} of diagnostics. {reason}")


def _write_event(logger: Any, record: Record, step: int) -> None:
    if (events := event_file(logger)) is not None:
        events.add_summary(record_summary(record, messages_for(events)), step)


def _write_row(logger: Any, record: Record, step: int) -> None:
    metrics: dict[str, Any] = dict(numbers_in(record))
    if type(logger).__name__ == "WandbLogger":
        metrics |= _wandb_histograms(record)
    logger.log_metrics(metrics, step)


def _write_picture(logger: Any, picture: Picture) -> None:
    events = event_file(logger)
    if events is not None:
        events.add_summary(picture_summary(picture, messages_for(events)), picture.step)
    elif takes_images(logger):
        logger.log_image(picture.tag, [_pixels(picture)], step=picture.step)
    elif stores_images(logger):
        file = f"{picture.tag}/{picture.step:09d}.png"
        logger.experiment.log_image(logger.run_id, _pixels(picture), artifact_file=file)


def _wandb_histograms(record: Record) -> dict[str, Any]:
    import wandb  # installed wherever its logger is

    histograms = histograms_in(record)
    bins = display_bins(list(histograms.values()))
    converted = {}
    for (tag, histogram), (limits, counts) in zip(
        histograms.items(), bins, strict=True
    ):
        edges = [histogram.moments.low, *limits]
        converted[tag] = wandb.Histogram(
            np_histogram=(np.array(counts), np.array(edges))
        )
    return converted


def _pixels(picture: Picture) -> np.ndarray:
    """`(height, width, 3)` uint8."""
    from PIL import Image  # comes with matplotlib, without which there are no pictures

    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"))


def _takes_pictures(logger: Any) -> bool:
    with contextlib.suppress(
        Exception
    ):  # a logger that fails is warned of when it gets numbers
        return (
            event_file(logger) is not None
            or takes_images(logger)
            or stores_images(logger)
        )
    return False


def takes_images(logger: Any) -> bool:
    """True for a logger with a `log_image`, such as Weights & Biases.

    The class is asked, since Lightning's DummyLogger has any attribute.
    """
    return callable(getattr(type(logger), "log_image", None))


def stores_images(logger: Any) -> bool:
    """True for a logger whose client has a `log_image`, such as MLflow."""
    return hasattr(type(logger), "run_id") and callable(
        getattr(logger.experiment, "log_image", None)
    )
