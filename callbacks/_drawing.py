"""Has pictures drawn in a process of their own.

matplotlib holds the interpreter for a tenth of a second a picture, and bears no second thread that draws, such as a
training that logs pictures of its own. Pictures there have matplotlib's own settings, not those of the training.
"""

import atexit
import contextlib
import os
import pickle
import subprocess
import sys
import threading
from typing import Any, BinaryIO

from . import _figures
from ._sketches import Sketch
from ._warnings import warn

DRAWS_WITHIN = 30.0
"""Seconds that a picture may take: the first of a machine may have to look for its fonts."""

TRIES = 2
"""It may have been ending, for want of work, when it was asked."""


class Drawer:
    """Draws one picture at a time, in a process that lasts as long as pictures are asked for.

    Where no process can be had, as on Windows, it draws in this one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: BinaryIO | None = None
        # A program frozen into one file would begin anew.
        self._here = os.name != "posix" or not sys.executable or hasattr(sys, "frozen")

    def draw(self, sketch: Sketch) -> bytes:
        """Returns a picture as PNG.

        Raises:
            RuntimeError: If it cannot be drawn.
        """
        with self._lock:
            answer = None if self._here else self._ask_patiently(sketch)
            if answer is None:
                return _figures.draw(*sketch)
            if isinstance(answer, str):
                raise RuntimeError(answer)
            return answer

    def close(self) -> None:
        """Ends the process, if there is one: it has nothing to lose."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        for stream in (process.stdin if process else None, self._answers):
            if stream is not None:
                with contextlib.suppress(OSError):  # where there is nobody to take the rest
                    stream.close()

    def after_fork(self) -> None:
        """Begins anew in a forked process; what it was forked with is kept, for what is dropped is flushed."""
        self._of_parent = self._process, self._answers
        self._lock, self._process = threading.Lock(), None

    def _ask_patiently(self, sketch: Sketch) -> bytes | str | None:
        """Returns a picture, what went wrong with it, or None if there is nobody to draw."""
        why = ""
        for _ in range(TRIES):
            try:
                return self._ask(sketch)
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
                self.close()
        self._here = True
        warn(f"Pictures of diagnostics are drawn by the training itself, which takes longer. {why}")
        return None

    def _ask(self, sketch: Sketch) -> bytes | str:
        process = self._running()
        assert process.stdin is not None
        assert self._answers is not None
        watch = threading.Timer(DRAWS_WITHIN, process.kill)
        watch.daemon = True
        watch.start()
        try:
            pickle.dump(tuple(sketch), process.stdin)
            process.stdin.flush()
            return pickle.load(self._answers)
        finally:
            watch.cancel()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._process.poll() is not None:
            self.close()  # gone for want of work
        if self._process is None:
            ours, its = os.pipe()  # not its standard output, where anything may print
            self._answers = os.fdopen(ours, "rb")
            try:
                self._process = subprocess.Popen(
                    # Without the folder of this file on its path, where names are those of modules of Python's own.
                    [sys.executable, "-P", _figures.__file__, str(its)],
                    pass_fds=[its],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if _is_place(path))},
                    start_new_session=True,  # Ctrl-C is for the training
                )
            finally:
                os.close(its)
        return self._process


def _is_place(path: Any) -> bool:
    return isinstance(path, str) and bool(path)  # Python itself leaves out what is no string


DRAWER = Drawer()
"""That of this process: whatever the number of instruments and fits, pictures are drawn one by one."""
atexit.register(DRAWER.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=DRAWER.after_fork)
