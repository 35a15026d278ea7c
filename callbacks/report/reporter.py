"""Reporter of a fit: records of all instruments to the loggers, and their plots into pictures."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from .._messages import warn
from .drawing import MOST_WAITING, Drawer, PictureQueue
from .drawing_process import DrawingProcess, drawing_command
from .plots import Plot
from .record import Record, merge_records
from .writer import Writer

WAIT_AT_END = 10.0
"""Seconds that the end of a fit may wait for pictures, whatever hangs."""


class Reporter:
    """Writes what the instruments of one fit measured.

    Numbers are written at once, pictures when they are drawn, which training does not wait for. None of the methods
    raises: loggers that fail, and pictures that cannot be drawn, are warned of.

    Args:
        loggers: Loggers of the Trainer.
        drawer: Draws figures; closed by `close`. None = a process of its own.
        wait_at_end: Seconds that `finish` may wait, over all its calls; None = `WAIT_AT_END`.
        most_waiting: Pictures that may wait to be drawn; more are left out.
    """

    def __init__(
        self,
        loggers: Sequence[Any] = (),
        drawer: Drawer | None = None,
        wait_at_end: float | None = None,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._writer = Writer(loggers)
        self._wait_left = WAIT_AT_END if wait_at_end is None else wait_at_end
        self._is_drawable: bool | None = None if drawer is None else True
        # Messages of the drawing thread, for the training thread to warn of: filters of warnings are not thread-safe.
        self._messages: deque[str] = deque()
        notify = self._messages.append
        self._queue = PictureQueue(
            drawer or DrawingProcess(notify, drawing_command()), notify, most_waiting
        )

    @property
    def takes_pictures(self) -> bool:
        """True if there is a logger for pictures, and matplotlib to draw them; else plots need not be made."""
        return self._writer.takes_pictures and self._can_draw()

    def write(self, records: Sequence[Record], step: int) -> None:
        """Writes the records of a step, and the pictures that were drawn meanwhile.

        Args:
            records: One record an instrument. TensorBoard gets one event with all of them, unless tags are shared.
            step: Step that was measured.
        """
        for record in merge_records(records):
            self._writer.write_record(record, step)
        self._write_pictures()

    def write_text(self, tag: str, text: str, step: int, data: str = "") -> None:
        """Writes Markdown to the loggers that show text, and the same as JSON."""
        self._writer.write_text(tag, text, step, data)

    def draw(self, plots: Mapping[str, Plot], step: int) -> None:
        """Queues pictures, by tag; drops them where there is no logger for pictures, or no room in the queue."""
        if self.takes_pictures:
            self._queue.put(plots, step)

    def finish(self) -> None:
        """Writes the last numbers and, once they are drawn, pictures; waits `wait_at_end` seconds at most."""
        self._writer.write_last()
        start = time.monotonic()
        in_time = self._queue.wait(self._wait_left)
        self._wait_left -= time.monotonic() - start
        self._write_pictures()
        if not in_time:
            warn(
                f"{self._queue.waiting} pictures of diagnostics were not drawn in time and may be missing."
            )

    def close(self) -> None:
        """Ends the drawing process and its thread, and writes the last numbers; callable any number of times."""
        self._writer.write_last()
        self._queue.close()
        self._warn()

    def _can_draw(self) -> bool:
        """True if matplotlib is installed; warns the first time if it is not."""
        if self._is_drawable is None:
            self._is_drawable = find_spec("matplotlib") is not None
            if not self._is_drawable:
                warn(
                    "There are no pictures of diagnostics: matplotlib, which draws them, is not installed. Numbers and "
                    "histograms are written; figures=False says that no pictures are wanted."
                )
        return self._is_drawable

    def _write_pictures(self) -> None:
        for picture in self._queue.take():
            self._writer.write_picture(picture)
        self._warn()

    def _warn(self) -> None:
        while self._messages:
            warn(self._messages.popleft())
