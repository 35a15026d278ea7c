"""The reporter of a fit: records and plots in, rows, events and pictures out."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[attr-defined]

from callbacks.measure.histogram import Histogram
from callbacks.report.drawing_process import DrawingProcess, drawing_command
from callbacks.report.plots import Curve, DensityPlot, MapPlot, Plot, RatioPlot
from callbacks.report.record import distribution_record
from callbacks.report.reporter import WAIT_AT_END, Reporter

ROOT = Path(__file__).parents[3]
HISTOGRAM = Histogram.of(torch.randn(100))
RATIOS = RatioPlot("updates", [0], {"w": [-3.0]})
PLOTS: dict[str, Plot] = {
    "activation_distribution": DensityPlot(
        "activations", "activation", [Curve("a", {}, HISTOGRAM)]
    ),
    "update_ratio": RATIOS,
    "saturation_map/a": MapPlot("saturation", np.zeros((2, 3), dtype=np.uint8)),
}


class Images:
    """A logger of numbers and pictures."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, Any]]] = []
        self.images: list[tuple[str, int]] = []

    def log_metrics(self, metrics: dict[str, Any], step: int) -> None:
        self.rows.append((step, metrics))

    def log_image(self, key: str, images: list[np.ndarray], step: int) -> None:
        self.images.append((key, step))


class Drawer:
    """Draws one picture for all, when the test allows it to."""

    def __init__(self, png: bytes) -> None:
        self.png, self.allowed = png, threading.Event()

    def draw(self, figure: str, arguments: Mapping[str, Any]) -> bytes:
        assert self.allowed.wait(30)
        if figure == "map_figure":
            raise ZeroDivisionError("x")
        return self.png

    def close(self) -> None:
        self.allowed.set()


def report_thrice(reporter: Reporter, plots: Mapping[str, Plot]) -> None:
    for step in range(3):
        reporter.draw(plots, step)
        reporter.finish()
        reporter.write([{"a/x": 1.0}], step)


def finish_often(reporter: Reporter) -> None:
    for _ in range(100):
        reporter.finish()


@pytest.fixture(scope="module")
def png() -> bytes:
    drawer = DrawingProcess(print, drawing_command())
    image = drawer.draw(RATIOS.figure, RATIOS.arguments())
    drawer.close()
    return image


def test_everything_of_a_step_is_one_event(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    reporter = Reporter([logger])
    for step in range(3):
        reporter.write(
            [
                distribution_record("activation", "a", HISTOGRAM),
                {"grad_norm/total": 1.0},
            ],
            step,
        )
    reporter.close()
    logger.experiment.close()
    files = Path(logger.log_dir).glob("events*")
    raw = [record for file in files for record in RawEventFileLoader(str(file)).Load()]
    events = [Event.FromString(record) for record in raw]
    sizes = [len(event.summary.value) for event in events if event.summary.value]
    # Four numbers and histograms, and three of the overview; with the first ones the layout of the charts.
    assert sizes == [8, 7, 7]


def test_one_row_a_step_and_two_where_tags_are_shared() -> None:
    logger = Images()
    reporter = Reporter([logger])
    reporter.write([{"a/x": 1.0}, {}, {"b/x": 2.0}, {"a/x": 3.0}], 5)
    reporter.write([], 6)
    assert logger.rows == [(5, {"a/x": 1.0, "b/x": 2.0}), (5, {"a/x": 3.0})]


def test_no_logger_at_all() -> None:
    reporter = Reporter()
    reporter.write([{"a/x": 1.0}], 0)
    assert not reporter.takes_pictures
    reporter.draw(PLOTS, 0)
    reporter.finish()
    reporter.close()


def test_pictures_of_a_drawing_process(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    reporter = Reporter([logger], wait_at_end=60)
    assert reporter.takes_pictures
    for step in (0, 4):
        reporter.draw(PLOTS, step)
    reporter.finish()
    reporter.close()
    logger.experiment.close()
    events = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    events.Reload()
    assert set(events.Tags()["images"]) == set(PLOTS)
    for tag in PLOTS:
        pictures = events.Images(tag)
        assert [picture.step for picture in pictures] == [0, 4]
        assert (pictures[0].width, pictures[0].height) == (800, 500)


def test_pictures_are_written_with_later_records(png: bytes) -> None:
    logger, drawer = Images(), Drawer(png)
    reporter = Reporter([logger], drawer)
    reporter.draw({"update_ratio": RATIOS}, 0)
    reporter.write([{"a/x": 1.0}], 0)
    assert logger.images == []
    drawer.allowed.set()
    step = 1
    while not logger.images and step < 1000:
        reporter.write([{"a/x": 1.0}], step)
        time.sleep(0.01)
        step += 1
    assert logger.images == [("update_ratio", 0)]
    reporter.close()


def test_a_picture_that_fails_is_warned_of_once_and_costs_no_other(png: bytes) -> None:
    logger, drawer = Images(), Drawer(png)
    drawer.allowed.set()
    reporter = Reporter([logger], drawer)
    with pytest.warns(RuntimeWarning) as warned:
        report_thrice(reporter, PLOTS)
    (warning,) = warned
    message = "The picture saturation_map/a of step 0 cannot be drawn. ZeroDivisionError: x. Training goes on."
    assert str(warning.message) == message
    assert [step for _, step in logger.images] == [0, 0, 1, 1, 2, 2]
    assert len(logger.rows) == 3
    reporter.close()


def test_the_end_of_a_fit_waits_for_a_limited_time_in_all(png: bytes) -> None:
    logger, drawer = Images(), Drawer(png)
    reporter = Reporter([logger], drawer, wait_at_end=0.3)
    reporter.draw({"update_ratio": RATIOS}, 0)
    start = time.monotonic()
    with pytest.warns(
        RuntimeWarning, match="1 pictures of diagnostics were not drawn in time"
    ):
        finish_often(reporter)
    assert time.monotonic() - start < 20  # not 30
    assert WAIT_AT_END == 10
    reporter.close()
    assert logger.images == []


def test_pictures_that_are_drawn_are_written_although_another_hangs(png: bytes) -> None:
    class Hanging(Drawer):
        def draw(self, figure: str, arguments: Mapping[str, Any]) -> bytes:
            return (
                self.png
                if figure == "density_figure"
                else super().draw(figure, arguments)
            )

    logger, drawer = Images(), Hanging(png)
    reporter = Reporter([logger], drawer, wait_at_end=0.3)
    reporter.draw(PLOTS, 0)
    with pytest.warns(RuntimeWarning, match="2 pictures"):
        reporter.finish()
    reporter.close()
    assert logger.images == [("activation_distribution", 0)]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_stopped_drawing_process_holds_up_nothing_and_leaves_nothing() -> None:
    logger, messages = Images(), []
    process = DrawingProcess(messages.append, drawing_command())
    process.draw(RATIOS.figure, RATIOS.arguments())
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)  # until the process has stopped
    reporter = Reporter([logger], process, wait_at_end=0.3)
    reporter.draw(PLOTS, 0)
    with pytest.warns(RuntimeWarning, match="3 pictures"):
        reporter.finish()
    reporter.close()
    reporter.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    assert not any(
        thread.name == "training-diagnostics" for thread in threading.enumerate()
    )
    assert messages == []


def test_a_closed_reporter_writes_numbers_and_draws_nothing(png: bytes) -> None:
    logger = Images()
    reporter = Reporter([logger], Drawer(png))
    reporter.close()
    reporter.draw(PLOTS, 0)
    reporter.write([{"a/x": 1.0}], 0)
    reporter.finish()
    assert (len(logger.rows), logger.images) == (1, [])


def test_messages_of_the_drawing_thread_are_warned_of_by_the_training_thread() -> None:
    logger = Images()
    messages: list[str] = []
    process = DrawingProcess(messages.append, None)
    reporter = Reporter([logger], process, wait_at_end=60)
    reporter.draw({"update_ratio": RATIOS}, 0)
    reporter.finish()
    reporter.close()
    assert logger.images == [("update_ratio", 0)]
    assert len(messages) == 1


def test_without_a_process_there_is_one_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    logger = Images()
    reporter = Reporter([logger], wait_at_end=60)
    with pytest.warns(RuntimeWarning, match="drawn by the training itself") as warned:
        report_thrice(reporter, {"update_ratio": RATIOS})
    assert len(warned) == 1
    assert logger.images == [("update_ratio", step) for step in range(3)]
    reporter.close()


def test_nothing_raises_where_warnings_are_errors(png: bytes) -> None:
    drawer = Drawer(png)
    reporter = Reporter([Images()], drawer, wait_at_end=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reporter.draw(PLOTS, 0)
        reporter.finish()
        reporter.close()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_leaves_no_process() -> None:
    """Ctrl-C while the end of a fit waits."""
    program = (
        "import os, signal, sys, threading, warnings\n"
        "from callbacks.report.drawing_process import DrawingProcess, drawing_command\n"
        "from callbacks.report.plots import RatioPlot\n"
        "from callbacks.report.reporter import Reporter\n"
        "class Logger:\n"
        "    log_metrics = log_image = lambda *_, **__: None\n"
        "process = DrawingProcess(print, drawing_command()); plot = RatioPlot('', [0], {})\n"
        "process.draw(plot.figure, plot.arguments()); os.kill(process.pid, signal.SIGSTOP)\n"
        "os.waitpid(process.pid, os.WUNTRACED)\n"
        "reporter = Reporter([Logger()], process); reporter.draw({'a': plot}, 0)\n"
        "threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try:\n"
        "    reporter.finish()\n"
        "except KeyboardInterrupt:\n"
        "    reporter.close()\n"
        "    try:\n"
        "        os.kill(process.pid, 0)\n"
        "    except ProcessLookupError:\n"
        "        print('gone')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.stdout.strip() == "gone", done.stderr
