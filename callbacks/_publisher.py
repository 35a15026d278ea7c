"""Where the record of a step goes: to the loggers at once, and to the pictures when they are due."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ._painter import Painter
from ._schedule import Schedule
from ._sketches import Sketch
from ._summary import Record
from ._writer import Writer

Pictures = Callable[[], Mapping[str, Callable[[], Sketch]]]
"""Returns what draws each picture, by tag."""


class Publisher:
    """Publishes the records of one fit.

    Args:
        loggers: Those of the Trainer; none on processes that do not write.
        schedule: Says when pictures are drawn; None = never.
    """

    def __init__(self, loggers: Sequence[Any] = (), schedule: Schedule | None = None) -> None:
        self._writer, self._painter, self._schedule = Writer(loggers), Painter(), schedule
        self._undrawn: tuple[int, Pictures] | None = None

    def publish(self, record: Record, step: int, pictures: Pictures) -> None:
        """Writes a record, and what pictures are done; takes those of this step into work if they are due."""
        self._writer.write(record, step)
        self._show()
        self._undrawn = None
        if self._schedule is not None and self._writer.takes_pictures:
            self._undrawn = step, pictures
            if self._schedule.draws(step):
                self._draw()

    def finish(self) -> None:
        """Draws the last record, unless that is done, and waits for its pictures."""
        self._show(wait=True)  # so that there is room for them, however many were waiting
        self._draw()
        self._show(wait=True)

    def close(self) -> None:
        """Draws no more."""
        self._undrawn = None
        self._painter.close()

    def _draw(self) -> None:
        if self._undrawn is not None and not self._painter.is_behind:
            step, pictures = self._undrawn
            self._undrawn = None
            for tag, make in pictures().items():
                self._painter.draw(tag, step, make)

    def _show(self, wait: bool = False) -> None:
        for picture in self._painter.finished(wait):
            self._writer.show(picture)
