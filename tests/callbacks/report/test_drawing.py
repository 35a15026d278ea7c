"""The queue of pictures and the drawing process: whatever becomes of it, training goes on."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from callbacks.report import drawing_process
from callbacks.report.drawing import PictureQueue
from callbacks.report.drawing_process import DrawingProcess, drawing_command
from callbacks.report.figures.draw import draw_png
from callbacks.report.plots import RatioPlot

PLOT = RatioPlot("updates", [0, 1, 2], {"w": [-2.0, None, -3.5]})
REQUEST = PLOT.figure, PLOT.arguments()
ROOT = Path(drawing_process.__file__).parents[2]
HANGS = "import os, sys\nwhile os.read(int(sys.argv[-1]), 65536): pass"
"""Never answers; ends with the process that asks."""


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def make(messages: list[str]) -> Iterator[Callable[..., DrawingProcess]]:
    made: list[DrawingProcess] = []

    def make(command: list[str] | None = None, limit: float = 30) -> DrawingProcess:
        made.append(
            DrawingProcess(messages.append, command or drawing_command(), limit)
        )
        return made[-1]

    yield make
    for drawer in made:
        drawer.close()


def is_gone(pid: int | None) -> bool:
    """True if a process has ended and been reaped."""
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


class Drawer:
    """Draws at once, what the test allows it to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.allowed = error, threading.Event()
        self.allowed.set()
        self.closed = 0

    def draw(self, figure: str, arguments: Mapping[str, Any]) -> bytes:
        assert self.allowed.wait(30)
        if self.error is not None and arguments["title"] == "bad":
            raise self.error
        return arguments["title"].encode()

    def close(self) -> None:
        self.closed += 1
        self.allowed.set()


def plots(*titles: str) -> dict[str, RatioPlot]:
    return {f"tag/{title}": RatioPlot(title, [], {}) for title in titles}


class TestProcess:
    def test_the_picture_is_that_of_this_process(
        self, make: Callable[..., DrawingProcess], messages: list[str]
    ) -> None:
        drawer = make()
        assert drawer.pid is None
        assert drawer.draw(*REQUEST) == draw_png(*REQUEST)
        pid = drawer.pid
        drawer.draw(*REQUEST)
        assert drawer.pid == pid  # one for all pictures
        drawer.close()
        assert is_gone(pid)
        assert messages == []

    def test_a_figure_that_fails_costs_no_other(
        self, make: Callable[..., DrawingProcess], messages: list[str]
    ) -> None:
        drawer = make()
        with pytest.raises(RuntimeError, match="KeyError"):
            drawer.draw("no_figure", {})
        assert drawer.draw(*REQUEST)[:4] == b"\x89PNG"
        assert messages == []

    @pytest.mark.parametrize(
        "program",
        ["pass", "import os, sys; os.write(int(sys.argv[-1]), b'INFO: x')", HANGS],
        ids=["ends", "junk", "hangs"],
    )
    def test_without_answers_pictures_are_drawn_here(
        self, make: Callable[..., DrawingProcess], messages: list[str], program: str
    ) -> None:
        drawer = make(python(program), limit=0.5)
        for _ in range(2):
            assert drawer.draw(*REQUEST)[:4] == b"\x89PNG"
        (message,) = messages
        assert message.startswith(
            "Pictures of diagnostics are drawn by the training itself"
        )
        assert is_gone(drawer.pid)

    def test_pictures_are_drawn_here_once_the_process_has_died(
        self, make: Callable[..., DrawingProcess], messages: list[str]
    ) -> None:
        drawer = make()
        drawer.draw(*REQUEST)
        assert drawer.pid is not None
        os.kill(drawer.pid, signal.SIGKILL)
        for _ in range(2):
            assert drawer.draw(*REQUEST)[:4] == b"\x89PNG"
        assert len(messages) == 1
        assert is_gone(drawer.pid)

    def test_pictures_are_drawn_here_where_no_process_can_be_started(
        self,
        make: Callable[..., DrawingProcess],
        messages: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        drawer = make(["/nowhere/python"])
        assert drawer.draw(*REQUEST)[:4] == b"\x89PNG"
        assert len(messages) == 1
        monkeypatch.setattr(sys, "frozen", True, raising=False)
        assert drawing_command() is None  # else the program would start anew
        drawer = make()
        assert drawer.draw(*REQUEST)[:4] == b"\x89PNG"
        assert "No process can be started" in messages[1]

    def test_what_a_host_prints_or_puts_first_on_its_path_is_of_no_effect(
        self,
        make: Callable[..., DrawingProcess],
        messages: list[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (tmp_path / "sitecustomize.py").write_text(
            "print('N.')"
        )  # which would be a pickle
        (tmp_path / "matplotlib.py").write_text("raise ImportError")
        (tmp_path / "matplotlibrc").write_text(
            "text.usetex: True\nfigure.facecolor: black\n"
        )
        expected = draw_png(*REQUEST)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        path: list[Any] = [Path("no string"), "", *sys.path, str(tmp_path)]
        monkeypatch.setattr(sys, "path", path)
        assert make().draw(*REQUEST) == expected
        assert messages == []

    def test_ctrl_c_is_for_the_training(
        self, make: Callable[..., DrawingProcess]
    ) -> None:
        drawer = make()
        drawer.draw(*REQUEST)
        assert drawer.pid is not None
        assert os.getsid(drawer.pid) != os.getsid(0)

    def test_a_stopped_process_is_reaped(
        self, make: Callable[..., DrawingProcess]
    ) -> None:
        drawer = make()
        drawer.draw(*REQUEST)
        assert drawer.pid is not None
        os.kill(drawer.pid, signal.SIGSTOP)
        os.waitpid(drawer.pid, os.WUNTRACED)  # until the process has stopped
        drawer.close()
        drawer.close()
        assert is_gone(drawer.pid)

    def test_close_ends_a_picture_in_progress(
        self, make: Callable[..., DrawingProcess], messages: list[str]
    ) -> None:
        drawer, errors = make(python(HANGS), limit=600), []

        def draw() -> None:
            try:
                drawer.draw(*REQUEST)
            except RuntimeError as error:
                errors.append(str(error))

        thread = threading.Thread(target=draw)
        thread.start()
        while drawer.pid is None:
            time.sleep(0.01)
        drawer.close()
        thread.join(30)
        assert not thread.is_alive()
        assert errors == ["The drawing process was closed."]
        assert messages == []
        assert is_gone(drawer.pid)

    def test_a_closed_one_starts_no_process(
        self, make: Callable[..., DrawingProcess], messages: list[str]
    ) -> None:
        drawer = make()
        drawer.close()
        with pytest.raises(RuntimeError, match="closed"):
            drawer.draw(*REQUEST)
        assert drawer.pid is None
        assert messages == []

    def test_ends_with_the_process_that_asks(self) -> None:
        program = (
            "import os; from callbacks.report.drawing_process import DrawingProcess, drawing_command\n"
            "from callbacks.report.plots import RatioPlot\n"
            "drawer = DrawingProcess(print, drawing_command()); plot = RatioPlot('', [0], {})\n"
            "drawer.draw(plot.figure, plot.arguments()); print(drawer.pid, flush=True); os._exit(0)"
        )
        done = subprocess.run(
            python(program), capture_output=True, text=True, check=True, cwd=ROOT
        )
        pid = done.stdout.strip()
        for _ in range(400):
            state = subprocess.run(
                ["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True
            ).stdout
            if not state or state.startswith(
                "Z"
            ):  # where nobody has asked yet how it ended
                return
            time.sleep(0.05)
        pytest.fail("it is still there")


class TestQueue:
    def test_pictures_are_taken_in_order_once(self) -> None:
        queue = PictureQueue(Drawer(), print)
        queue.put(plots("a", "b"), 0)
        queue.put(plots("c"), 1)
        assert queue.wait(30)
        assert queue.take() == [
            ("tag/a", 0, b"a"),
            ("tag/b", 0, b"b"),
            ("tag/c", 1, b"c"),
        ]
        assert queue.take() == []
        queue.close()

    def test_equal_errors_are_reported_once_and_cost_no_other_picture(
        self, messages: list[str]
    ) -> None:
        queue = PictureQueue(Drawer(ZeroDivisionError("x")), messages.append)
        for step in range(3):
            queue.put(plots("bad", "good"), step)
        assert queue.wait(30)
        assert [picture.step for picture in queue.take()] == [0, 1, 2]
        assert messages == [
            "The picture tag/bad of step 0 cannot be drawn. ZeroDivisionError: x"
        ]
        queue.close()

    def test_when_full_it_leaves_out_steps(self) -> None:
        drawer = Drawer()
        drawer.allowed.clear()
        queue = PictureQueue(drawer, print, most_waiting=4)
        for step in (0, 1, 4):
            queue.put(plots("a", "b", "c"), step)
        assert queue.waiting == 3  # all of a step, or none
        drawer.allowed.set()
        assert queue.wait(30)
        queue.put(plots(*"abcdef"), 5)  # more than ever fit
        assert queue.wait(30)
        assert [picture.step for picture in queue.take()] == [0] * 3 + [5] * 4
        queue.close()

    def test_waits_no_longer_than_it_should(self) -> None:
        drawer = Drawer()
        drawer.allowed.clear()
        queue = PictureQueue(drawer, print)
        queue.put(plots("a"), 0)
        assert not queue.wait(0.05)
        assert not queue.wait(-1)
        queue.close()

    def test_close_ends_the_thread_and_the_drawer(self, messages: list[str]) -> None:
        before = set(threading.enumerate())
        queue = PictureQueue(Drawer(), messages.append)
        queue.close()  # there is no thread yet
        queue.put(plots("a"), 0)
        assert set(threading.enumerate()) == before
        drawer = Drawer(ZeroDivisionError())
        drawer.allowed.clear()
        queue = PictureQueue(drawer, messages.append)
        queue.put(plots("bad", "a"), 0)
        (thread,) = set(threading.enumerate()) - before
        assert thread.daemon
        for _ in range(2):
            queue.close()
        assert not thread.is_alive()
        assert drawer.closed == 2
        assert (queue.take(), queue.waiting, messages) == ([], 0, [])

    def test_without_a_thread_there_are_no_pictures(
        self, messages: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def start(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", start)
        queue = PictureQueue(Drawer(), messages.append)
        for step in range(2):
            queue.put(plots("a"), step)
        assert (queue.waiting, len(messages)) == (0, 1)
        queue.close()

    def test_a_hanging_process_keeps_no_interpreter_from_exiting(self) -> None:
        program = (
            "import sys, time; from callbacks.report.drawing import PictureQueue\n"
            "from callbacks.report.drawing_process import DrawingProcess\n"
            "from callbacks.report.plots import RatioPlot\n"
            f"drawer = DrawingProcess(print, [sys.executable, '-c', {HANGS!r}])\n"
            "queue = PictureQueue(drawer, print); queue.put({'a': RatioPlot('', [0], {})}, 0)\n"
            "while drawer.pid is None: time.sleep(0.01)\n"
        )
        with suppress(ResourceWarning):
            subprocess.run(python(program), check=True, timeout=25, cwd=ROOT)
