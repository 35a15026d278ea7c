"""Loggers of all kinds: those that fail, those that take pictures, and the real ones."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import (
    CSVLogger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)
from lightning.pytorch.loggers.logger import DummyLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks.measure.histogram import Histogram
from callbacks.report.drawing import Picture
from callbacks.report.record import Record
from callbacks.report.writer import Writer

HISTOGRAM = Histogram.of(torch.randn(100))
RECORD: Record = {"activation/a": HISTOGRAM, "activation_mean/a": 0.5}


def picture(step: int = 0) -> Picture:
    png = io.BytesIO()
    Image.new("P", (3, 2)).save(png, "png")
    return Picture("update_ratio", step, png.getvalue())


def write_thrice(writer: Writer) -> None:
    for step in range(3):
        writer.write_record(RECORD, step)
        if writer.takes_pictures:
            writer.write_picture(picture())


class Rows:
    """A logger that takes numbers alone."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, Any]]] = []

    def log_metrics(self, metrics: dict[str, Any], step: int) -> None:
        self.rows.append((step, metrics))


def test_a_logger_that_is_no_tensorboard_gets_every_step(tmp_path: Path) -> None:
    rows, board = Rows(), TensorBoardLogger(tmp_path)
    writer = Writer([board, rows])
    for step in range(1000):
        writer.write_record({"a/x": float(step)}, step)
    writer.write_last()
    assert rows.rows == [(step, {"a/x": float(step)}) for step in range(1000)]


class Images(Rows):
    """A logger that takes pictures, too."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[tuple[str, tuple[int, ...], int]] = []

    def log_image(self, key: str, images: list[np.ndarray], step: int) -> None:
        self.images.append((key, images[0].shape, step))


class Full(Images):
    """A logger whose disk is full."""

    def log_metrics(self, metrics: dict[str, Any], step: int) -> None:
        raise OSError("No space left on device")


class Refusing(Images):
    """A logger whose `log_image` is another function."""

    def log_image(self, image: object, name: str) -> None:  # type: ignore[override]
        pass


class Breaking(Rows):
    """A logger that cannot be asked for anything after its first row."""

    @property
    def experiment(self) -> None:
        if self.rows:
            raise RuntimeError("gone")


def test_numbers_go_to_all_loggers_and_pictures_to_some(tmp_path: Path) -> None:
    rows, images, csv, board = (
        Rows(),
        Images(),
        CSVLogger(tmp_path),
        TensorBoardLogger(tmp_path),
    )
    writer = Writer([rows, csv, images, board])
    writer.write_record(RECORD, 7)
    writer.write_picture(picture(7))
    assert rows.rows == images.rows == [(7, {"activation_mean/a": 0.5})]
    assert images.images == [("update_ratio", (2, 3, 3), 7)]
    csv.save()
    assert "activation_mean/a" in (Path(csv.log_dir) / "metrics.csv").read_text()
    board.experiment.close()
    events = EventAccumulator(board.log_dir)
    events.Reload()
    assert (
        events.Histograms("activation/a")[0].step
        == events.Images("update_ratio")[0].step
        == 7
    )


@pytest.mark.parametrize(
    ("logger", "takes"), [(Rows(), False), (Images(), True), (DummyLogger(), False)]
)
def test_takes_pictures(logger: Any, takes: bool) -> None:
    """`fast_dev_run` replaces all loggers by a DummyLogger, which seems to have any method."""
    assert Writer([logger]).takes_pictures == takes
    assert Writer([Rows(), logger]).takes_pictures == takes


def test_a_tensorboard_logger_takes_pictures(tmp_path: Path) -> None:
    assert Writer([TensorBoardLogger(tmp_path)]).takes_pictures
    assert not Writer().takes_pictures


def test_a_logger_that_fails_is_warned_of_once_and_left_out() -> None:
    full, rows = Full(), Rows()
    writer = Writer([full, rows])
    with pytest.warns(RuntimeWarning) as warned:
        write_thrice(writer)
    (warning,) = warned
    message = "Full gets no more numbers of diagnostics. OSError: No space left on device. Training goes on."
    assert str(warning.message) == message
    assert len(rows.rows) == 3
    assert full.images == []
    assert not writer.takes_pictures


def test_a_logger_that_fails_at_pictures_keeps_its_numbers() -> None:
    refusing, images = Refusing(), Images()
    writer = Writer([refusing, images])
    with pytest.warns(RuntimeWarning) as warned:
        write_thrice(writer)
    assert [str(warning.message).split(" of ")[0] for warning in warned] == [
        "Refusing gets no more pictures"
    ]
    assert (len(refusing.rows), len(images.rows), len(images.images)) == (3, 3, 3)


def test_a_logger_that_breaks_later_costs_no_other_logger() -> None:
    breaking, rows = Breaking(), Rows()
    writer = Writer([breaking, rows])
    with pytest.warns(RuntimeWarning) as warned:
        write_thrice(writer)
    assert not writer.takes_pictures
    assert [str(warning.message).split(" of ")[0] for warning in warned] == [
        "Breaking gets no more numbers"
    ]
    assert (len(breaking.rows), len(rows.rows)) == (1, 3)


def test_warnings_as_errors_do_not_end_the_training() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Writer([Full()]).write_record(RECORD, 0)


class TestLoggersOfOthers:
    """The real ones, without a network."""

    def test_weights_and_biases(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WANDB_SILENT", "true")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own
            logger = WandbLogger(save_dir=tmp_path, offline=True)
            writer = Writer([logger])
            assert writer.takes_pictures
            writer.write_record(RECORD, 0)
            writer.write_picture(picture())
            summary = dict(logger.experiment.summary)
            logger.experiment.finish()
        assert sum(summary["activation/a"]["values"]) == HISTOGRAM.moments.count
        assert summary["activation/a"]["bins"][0] == pytest.approx(
            HISTOGRAM.moments.low
        )
        assert summary["activation_mean/a"] == 0.5
        assert summary["update_ratio"]["format"] == "png"

    def test_mlflow(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        monkeypatch.chdir(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own
            logger = MLFlowLogger(save_dir=str(tmp_path / "mlruns"))
            writer = Writer([logger])
            assert writer.takes_pictures
            writer.write_record(RECORD, 4)
            writer.write_picture(picture(4))
            client, run = logger.experiment, logger.run_id
            assert run is not None
            history = client.get_metric_history(run, "activation_mean/a")
            files = [file.path for file in client.list_artifacts(run, "update_ratio")]
        assert [(point.step, point.value) for point in history] == [(4, 0.5)]
        assert files == ["update_ratio/000000004.png"]
