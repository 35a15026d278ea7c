"""Queue of pictures, which a worker thread has drawn while training goes on."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from .plots import Plot

MOST_WAITING = 64
"""Pictures that may wait to be drawn; more are left out, so that training never waits for them."""

JOIN_LIMIT = 1.0
"""Seconds to wait for the end of the worker thread."""


class Drawer(Protocol):
    """Draws figures, for one thread at a time."""

    def draw(self, figure: str, arguments: Mapping[str, Any]) -> bytes:
        """Returns a PNG; raises if the figure cannot be drawn."""
        ...

    def close(self) -> None:
        """Ends the work in progress; callable from another thread, any number of times."""
        ...


class Picture(NamedTuple):
    """A figure of one step.

    Attributes:
        tag: Tag of the picture.
        step: Step that it shows.
        png: The image.
    """

    tag: str
    step: int
    png: bytes


class _Job(NamedTuple):
    tag: str
    step: int
    plot: Plot


class PictureQueue:
    """Draws pictures one by one on a daemon thread, which cannot keep the interpreter from exiting.

    Args:
        drawer: Draws the figures.
        notify: Called with a message for each picture that cannot be drawn; of equal errors for the first.
        most_waiting: Pictures that may wait.
    """

    def __init__(
        self,
        drawer: Drawer,
        notify: Callable[[str], None],
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._drawer, self._notify, self._most_waiting = drawer, notify, most_waiting
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._pictures: list[Picture] = []
        self._errors: set[str] = set()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """Number of pictures that are not drawn yet."""
        return len(self._jobs)

    def put(self, plots: Mapping[str, Plot], step: int) -> None:
        """Queues the pictures of a step, by tag: all of them, or none if there is no room for all.

        More than fit into an empty queue are cut off.
        """
        jobs = [_Job(tag, step, plot) for tag, plot in plots.items()][
            : self._most_waiting
        ]
        with self._changed:
            if self._is_closed or len(self._jobs) + len(jobs) > self._most_waiting:
                return
            self._jobs += jobs
            self._changed.notify_all()
        if jobs and self._thread is None:
            self._start()

    def take(self) -> list[Picture]:
        """Returns the pictures that were drawn since the last call, in the order in which they were queued."""
        with self._changed:
            pictures, self._pictures = self._pictures, []
        return pictures

    def wait(self, seconds: float) -> bool:
        """Waits until all pictures are drawn; False if they are not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs, max(seconds, 0))

    def close(self) -> None:
        """Drops the pictures that wait, ends the worker and closes the drawer."""
        with self._changed:
            self._is_closed = True
            self._jobs.clear()
            self._changed.notify_all()
        self._drawer.close()
        if self._thread is not None:
            self._thread.join(JOIN_LIMIT)

    def _start(self) -> None:
        thread = threading.Thread(
            target=self._work, name="training-diagnostics", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # too many threads
            self._notify(f"There are no pictures of diagnostics. RuntimeError: {error}")
            self.close()
        else:
            self._thread = thread

    def _work(self) -> None:
        while (job := self._next()) is not None:
            picture = self._draw(job)
            with self._changed:
                if self._is_closed:
                    return
                if picture is not None:
                    self._pictures.append(picture)
                self._jobs.popleft()
                self._changed.notify_all()

    def _next(self) -> _Job | None:
        """Waits for a picture that is to be drawn, which stays in the queue meanwhile; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._is_closed)
            return None if self._is_closed else self._jobs[0]

    def _draw(self, job: _Job) -> Picture | None:
        try:
            png = self._drawer.draw(job.plot.figure, job.plot.arguments())
        except Exception as error:
            self._report(job, f"{type(error).__name__}: {error}")
            return None
        return Picture(job.tag, job.step, png)

    def _report(self, job: _Job, error: str) -> None:
        if not self._is_closed and error not in self._errors:
            self._errors.add(error)
            self._notify(
                f"The picture {job.tag} of step {job.step} cannot be drawn. {error}"
            )
