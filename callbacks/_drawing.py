"""Has pictures drawn in a process of their own.

matplotlib holds the interpreter for a tenth of a second a picture, and bears no second thread that draws, such as a
training that logs pictures of its own.
"""

import atexit
import contextlib
import os
import pickle
import subprocess
import sys
import threading

from . import _figures
from ._sketches import Sketch

DRAWS_WITHIN = 120.0
"""Seconds that a picture may take: the first of a machine may have to look for its fonts."""

TRIES = 2
"""It may have been ending, for want of work, when it was asked."""

ENDS_WITHIN = 5.0
"""Seconds that the process may take to end."""


class Drawer:
    """Draws one picture at a time, in a process that lasts as long as pictures are asked for.

    Where no process can be had, it draws in this one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        # A program frozen into one file would begin anew.
        self._here = not sys.executable or hasattr(sys, "frozen")

    def draw(self, sketch: Sketch) -> bytes:
        """Returns a picture as PNG.

        Raises:
            RuntimeError: If it cannot be drawn.
        """
        with self._lock:
            for _ in range(0 if self._here else TRIES):
                try:
                    answer = self._ask(sketch)
                except (OSError, EOFError, pickle.UnpicklingError):
                    self.close()
                    continue
                if isinstance(answer, bytes):
                    return answer
                raise RuntimeError(answer)
            self._here = True
            return _figures.draw(*sketch)

    def close(self) -> None:
        """Ends the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # where it has gone already
                    stream.close()
        try:
            process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def after_fork(self) -> None:
        """Begins anew in a forked process; what it was forked with is kept, for what is dropped is flushed."""
        self._of_parent, self._lock, self._process = self._process, threading.Lock(), None

    def _ask(self, sketch: Sketch) -> bytes | str:
        """Returns a picture, or what went wrong with it."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        watch = threading.Timer(DRAWS_WITHIN, process.kill)
        watch.daemon = True
        watch.start()
        try:
            pickle.dump(tuple(sketch), process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        finally:
            watch.cancel()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._process.poll() is not None:
            self.close()  # gone for want of work
        if self._process is None:
            self._process = subprocess.Popen(
                # Without the folder of this file on its path, where names are those of modules of Python's own.
                [sys.executable, "-P", _figures.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # Ctrl-C is for the training
            )
        return self._process


DRAWER = Drawer()
"""That of this process: whatever the number of instruments and fits, pictures are drawn one by one."""
atexit.register(DRAWER.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=DRAWER.after_fork)
