"""Drawing process: matplotlib would hold the training's interpreter (GIL) for a tenth of a second a picture."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PICTURE_LIMIT = 30.0
"""Seconds that a picture may take: the first of a machine may have to build matplotlib's cache of fonts."""

REAP_LIMIT = 5.0
"""Seconds to wait for the end of a killed process."""

PROGRAM = "import sys; sys.path[:] = sys.argv[2:-1]; import runpy; runpy.run_path(sys.argv[1], run_name='__main__')"
"""Runs a file with a given `sys.path`; `-c` rather than the file, whose folder would be on `sys.path`."""


def drawing_command() -> list[str] | None:
    """Returns the command of the drawing process, less its last argument; None where it cannot be started.

    Windows has no `pass_fds`, and the executable of a frozen program is that program.
    """
    if os.name != "posix" or not sys.executable or hasattr(sys, "frozen"):
        return None
    program = Path(__file__).with_name("drawing_program.py")
    paths = [
        path for path in sys.path if isinstance(path, str) and path
    ]  # "" is the working directory
    return [sys.executable, "-c", PROGRAM, str(program), *paths]


class DrawingProcess:
    """Draws pictures in a process that is started with the first and ended by `close`.

    Pictures are drawn in the calling thread where no process can be started, and once the process has died or hung.

    Args:
        notify: Called with a message when pictures have to be drawn in the calling thread.
        command: Command that is started, with the file descriptor of a connection as its last argument; None = no
            process.
        limit: Seconds that a picture may take.
    """

    def __init__(
        self,
        notify: Callable[[str], None],
        command: Sequence[str] | None,
        limit: float = PICTURE_LIMIT,
    ) -> None:
        self._notify, self._command, self._limit = notify, command, limit
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._in_use = threading.Lock()
        self._is_closed = self._is_lost = False

    @property
    def pid(self) -> int | None:
        """Process id; None before the first picture."""
        return None if self._process is None else self._process.pid

    def draw(self, figure: str, arguments: Mapping[str, Any]) -> bytes:
        """Returns a PNG; for one thread at a time.

        Args:
            figure: Name of a function of `figures.draw`.
            arguments: Arguments of that function.

        Raises:
            RuntimeError: If the figure cannot be drawn, or this object was closed.
        """
        answer = None if self._is_lost else self._request(figure, arguments)
        if self._is_closed:
            raise RuntimeError("The drawing process was closed.")
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return _draw_here(figure, arguments) if answer is None else answer

    def close(self) -> None:
        """Kills and reaps the process, also a stopped one; callable from any thread, any number of times."""
        self._is_closed = True
        self._kill()  # ends the wait of a thread in `draw`
        if self._in_use.acquire(timeout=REAP_LIMIT):
            try:
                self._kill()  # a process that was being started
                self._disconnect()
            finally:
                self._in_use.release()

    def _request(self, figure: str, arguments: Mapping[str, Any]) -> bytes | str | None:
        """Returns the answer of the process: a PNG or an error; None if the process is of no more use."""
        with self._in_use:
            try:
                connection = self._connect()
                connection.send((figure, arguments))
                if not connection.poll(self._limit):
                    raise TimeoutError(
                        f"There was no picture after {self._limit:g} seconds."
                    )
                return connection.recv()
            except Exception as error:
                self._give_up(error)
                return None

    def _connect(self) -> Connection:
        if self._connection is None and not self._is_closed:
            self._start()
        if (
            self._connection is None or self._is_closed
        ):  # `close` may have been called meanwhile
            raise RuntimeError("The drawing process was closed.")
        return self._connection

    def _start(self) -> None:
        if self._command is None:
            raise RuntimeError("No process can be started on this platform.")
        self._connection, remote = (
            Pipe()
        )  # not standard output, to which anything may print
        with remote:
            descriptor = remote.fileno()
            self._process = subprocess.Popen(
                [*self._command, str(descriptor)],
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the training
            )

    def _give_up(self, error: Exception) -> None:
        self._is_lost = True
        self._kill()
        self._disconnect()
        if not self._is_closed:
            reason = f"{type(error).__name__}: {error}"
            self._notify(
                f"Pictures of diagnostics are drawn by the training itself, which takes longer. {reason}"
            )

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(REAP_LIMIT)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _draw_here(figure: str, arguments: Mapping[str, Any]) -> bytes:
    from .figures.draw import draw_png  # matplotlib takes half a second to import

    return draw_png(figure, arguments)
