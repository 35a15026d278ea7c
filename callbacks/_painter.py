"""Has pictures drawn beside the training, while it goes on."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from ._drawing import DRAWER
from ._sketches import Sketch

MOST_WAITING = 64
"""Pictures that may wait to be drawn; while there are more, those of later steps are left out, not waited for."""


class Picture(NamedTuple):
    """A picture, drawn."""

    tag: str
    step: int
    png: bytes


class Painter:
    """Waits on a thread for pictures, made of numbers that change no more; hands out what is done."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: list[Future[Picture]] = []

    def draw(self, tag: str, step: int, make: Callable[[], Sketch]) -> None:
        """Takes a picture into work."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="training-diagnostics")
        self._waiting.append(self._thread.submit(_paint, tag, step, make))

    @property
    def is_behind(self) -> bool:
        """Whether so many pictures are waiting that no more should be asked for."""
        return len(self._waiting) >= MOST_WAITING

    def finished(self, wait: bool = False) -> Iterator[Picture]:
        """Yields the pictures that are done, in their order.

        Args:
            wait: Whether to wait for the others.

        Raises:
            Exception: What went wrong in drawing one.
        """
        while self._waiting and (wait or self._waiting[0].done()):
            yield self._waiting.pop(0).result()

    def close(self) -> None:
        """Ends the thread; what was not begun is not drawn."""
        self._waiting.clear()
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
            self._thread = None


def _paint(tag: str, step: int, make: Callable[[], Sketch]) -> Picture:
    return Picture(tag, step, DRAWER.draw(make()))
