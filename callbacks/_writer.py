"""The only file that knows loggers: numbers to every one of them, histograms and pictures where they can go."""

import io
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.image import imread

from ._painter import Picture
from ._summary import Record, summary_of_picture, summary_of_record
from ._warnings import warn


class Writer:
    """Writes records to the loggers of one fit.

    A logger that fails is warned of once and left out from then on: training goes on.

    Args:
        loggers: Those of the Trainer, told apart by what they can do.
    """

    def __init__(self, loggers: Sequence[Any]) -> None:
        self._loggers = list(loggers)

    @property
    def takes_pictures(self) -> bool:
        """Whether a picture has anywhere to go."""
        return any(event_file(logger) is not None or has_images(logger) for logger in self._loggers)

    def write(self, record: Record, step: int) -> None:
        """Writes everything of a step: to TensorBoard as one event."""
        for logger in tuple(self._loggers):
            self._try(logger, _write_record, record, step)

    def show(self, picture: Picture) -> None:
        """Writes a picture to the loggers that take one."""
        for logger in tuple(self._loggers):
            self._try(logger, _write_picture, picture)

    def _try(self, logger: Any, write: Callable[..., None], *what: Any) -> None:
        try:
            write(logger, *what)
        except Exception as error:
            self._loggers.remove(logger)
            warn(f"{type(logger).__name__} gets no more diagnostics. {type(error).__name__}: {error}")


def _write_record(logger: Any, record: Record, step: int) -> None:
    if (events := event_file(logger)) is not None:
        events.add_summary(summary_of_record(record), step)
    else:
        logger.log_metrics({tag: value for tag, value in record.items() if isinstance(value, float)}, step)


def _write_picture(logger: Any, picture: Picture) -> None:
    if (events := event_file(logger)) is not None:
        events.add_summary(summary_of_picture(picture), picture.step)
    elif has_images(logger):
        logger.log_image(picture.tag, [imread(io.BytesIO(picture.png))], step=picture.step)


def has_images(logger: Any) -> bool:
    """Tells whether a logger takes images, as that of Weights & Biases does."""
    return callable(getattr(logger, "log_image", None))


def event_file(logger: Any) -> Any:
    """Returns what writes events of a TensorBoard logger, None of any other.

    SummaryWriter offers no public way to add an event that holds several values.
    """
    experiment = getattr(logger, "experiment", None)
    if hasattr(type(experiment), "_get_file_writer"):
        return experiment._get_file_writer()  # type: ignore[union-attr]
    return None
