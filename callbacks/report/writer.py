"""Loggers: numbers to all of them, histograms and pictures to those that take them."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from .._messages import warn
from .display_bins import display_bins
from .drawing import Picture
from .event_file import EventFile
from .event_points import EventPoints
from .overview import overview_of
from .record import Record, histograms_in, numbers_in
from .tensorboard import event_file
from .trackers import edges_of, image_of, tracker_of


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
        self._histogram_loggers = list(loggers)
        self._event_points = EventPoints()
        self._event_files: dict[int, EventFile] = {}
        self._overview_step: int | None = None

    @property
    def takes_pictures(self) -> bool:
        """True if a logger takes pictures."""
        return any(map(_takes_pictures, self._picture_loggers))

    def write_record(self, record: Record, step: int) -> None:
        """Writes the numbers and histograms of a step: one row of each logger, one event of TensorBoard.

        The event has those values only that TensorBoard can show, see `event_points`; with them the overview of all
        layers. The layout of its charts is written with the first event, and where new ones come.
        """
        if not self._loggers:
            return
        numbers = numbers_in(record)
        with_overview = {**record, **self._overview(numbers, step)}
        selected = self._event_points.select(with_overview, step)

        rows: list[Any] = []

        def write(logger: Any) -> None:
            if (file := self._event_file(logger)) is None:
                _write_row(logger, record, step)
                rows.append(logger)
            elif selected:
                file.write_record(selected, step, numbers)

        self._write_numbers(write)
        self._write_histograms(rows, record, step)

    def write_last(self) -> None:
        """Writes the last value of each tag to event files that do not have it yet."""
        for step, record in self._event_points.take_last().items():
            self._write_numbers(partial(self._write_event, record=record, step=step))

    def write_text(self, tag: str, text: str, step: int, data: str = "") -> None:
        """Writes Markdown to the Text page of TensorBoard, and the same as JSON, which programs read."""

        def write(logger: Any) -> None:
            if (file := self._event_file(logger)) is not None:
                logger.experiment.add_text(tag, text, step)
                if data:
                    file.write_data(tag, data, step)

        self._write(self._picture_loggers, "texts", write)

    def write_picture(self, picture: Picture) -> None:
        """Writes a picture."""
        self._write(
            self._picture_loggers,
            "pictures",
            lambda logger: self._write_picture(logger, picture),
        )

    def _event_file(self, logger: Any) -> EventFile | None:
        """Returns the event file of a TensorBoard logger; None of any other logger."""
        events = event_file(logger)
        if events is None:
            return None
        if id(logger) not in self._event_files:
            self._event_files[id(logger)] = EventFile(events)
        return self._event_files[id(logger)]

    def _overview(self, numbers: Mapping[str, float], step: int) -> dict[str, float]:
        """Returns the overview of a step, once: a second record is that of a second instrument of one class."""
        if step == self._overview_step:
            return {}
        self._overview_step = step
        return overview_of(numbers)

    def _write_event(self, logger: Any, record: Record, step: int) -> None:
        if (file := self._event_file(logger)) is not None:
            file.write_record(record, step)

    def _write_histograms(
        self, loggers: Sequence[Any], record: Record, step: int
    ) -> None:
        """Writes histograms to the trackers that take them; one that fails still gets numbers."""

        def write(logger: Any) -> None:
            if logger in loggers:
                _write_histograms(logger, record, step)

        self._write(self._histogram_loggers, "histograms", write)

    def _write_picture(self, logger: Any, picture: Picture) -> None:
        if (file := self._event_file(logger)) is not None:
            file.write_picture(picture)
        else:
            _write_picture(logger, picture)

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


def _write_row(logger: Any, record: Record, step: int) -> None:
    metrics: dict[str, Any] = dict(numbers_in(record))
    if type(logger).__name__ == "WandbLogger":
        metrics |= _wandb_histograms(record)
    logger.log_metrics(metrics, step)


def _write_histograms(logger: Any, record: Record, step: int) -> None:
    tracker = tracker_of(logger)
    if tracker is None or tracker.write_histogram is None:
        return
    histograms = histograms_in(record)
    bins = display_bins(list(histograms.values()))
    for (tag, histogram), display in zip(histograms.items(), bins, strict=True):
        tracker.write_histogram(logger.experiment, tag, histogram, display, step)


def _write_picture(logger: Any, picture: Picture) -> None:
    if takes_images(logger):
        logger.log_image(picture.tag, [_pixels(picture)], step=picture.step)
    elif stores_images(logger):
        file = f"{picture.tag}/{picture.step:09d}.png"
        logger.experiment.log_image(logger.run_id, _pixels(picture), artifact_file=file)
    elif tracker := tracker_of(logger):
        tracker.write_picture(logger.experiment, picture)


def _wandb_histograms(record: Record) -> dict[str, Any]:
    import wandb  # installed wherever its logger is

    histograms = histograms_in(record)
    bins = display_bins(list(histograms.values()))
    converted = {}
    for (tag, histogram), display in zip(histograms.items(), bins, strict=True):
        counts = (np.array(display.counts), edges_of(histogram, display))
        converted[tag] = wandb.Histogram(np_histogram=counts)
    return converted


def _pixels(picture: Picture) -> np.ndarray:
    """`(height, width, 3)` uint8."""
    return np.asarray(image_of(picture))


def _takes_pictures(logger: Any) -> bool:
    with contextlib.suppress(
        Exception
    ):  # a logger that fails is warned of when it gets numbers
        return (
            event_file(logger) is not None
            or takes_images(logger)
            or stores_images(logger)
            or tracker_of(logger) is not None
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
