"""Where the record of a step goes: to the loggers, with those of other instruments, and into pictures that are due."""

from collections.abc import Callable, Mapping

from ._painter import Painter
from ._records import Record
from ._schedule import Schedule
from ._sketches import Sketch
from ._writer import Writer

Pictures = Callable[[], Mapping[str, Callable[[], Sketch]]]
"""Returns what draws each picture, by tag."""


class Publisher:
    """Publishes the records of one instrument in one fit.

    Args:
        writer: That of the fit, for all instruments.
        schedule: Says when pictures are drawn; None = never.
    """

    def __init__(self, writer: Writer, schedule: Schedule | None = None) -> None:
        self.writer, self._painter, self._schedule = writer, Painter(), schedule
        self._undrawn: tuple[int, Pictures] | None = None

    def publish(self, record: Record, step: int, pictures: Pictures) -> None:
        """Has a record and what pictures are done written; takes those of this step into work if they are due."""
        self.writer.collect(record, step)
        self._show()
        self._undrawn = None
        if self._schedule is not None and self.writer.takes_pictures:
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
            self.writer.show(picture)
