"""Comet, Neptune, Aim, Trackio and SwanLab: the real clients where they are installed, without a network.

Tried with comet_ml 3.58.8, neptune 1.14.0.post2, aim 3.29.1, trackio 0.43.0 and swanlab 0.10.3; none is needed.
"""

import io
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from callbacks.measure.histogram import Histogram
from callbacks.report.drawing import Picture
from callbacks.report.writer import Writer

HISTOGRAM = Histogram.of(torch.randn(100))
RECORD = {"activation/a": HISTOGRAM, "activation_mean/a": 0.5}


class ClientLogger:
    """Logger around a client, as that of each package is one."""

    def __init__(self, client: Any, log: Callable[[Any, dict[str, Any], int], None]):
        self.experiment, self._log = client, log

    def log_metrics(self, metrics: dict[str, Any], step: int) -> None:
        self._log(self.experiment, metrics, step)


def write(logger: Any, step: int = 4) -> None:
    """Writes a record and a picture; a warning is an error."""
    png = io.BytesIO()
    Image.new("P", (8, 6)).save(png, "png")
    writer = Writer([logger])
    assert writer.takes_pictures
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the packages
        warnings.filterwarnings("error", ".* gets no more")
        writer.write_record(RECORD, step)
        writer.write_picture(Picture("update_ratio", step, png.getvalue()))
    assert logger in writer._picture_loggers
    assert logger in writer._histogram_loggers


REAL = pytest.mark.filterwarnings("ignore")


@REAL
def test_comet(tmp_path: Path) -> None:
    comet = pytest.importorskip("comet_ml", reason="needs comet_ml")
    client = comet.OfflineExperiment(
        offline_directory=str(tmp_path), project_name="p", log_code=False
    )
    write(ClientLogger(client, lambda run, row, step: run.log_metrics(row, step=step)))
    client.end()
    (file,) = tmp_path.glob("*.zip")
    archive = zipfile.ZipFile(file)
    text = b"".join(archive.read(name) for name in archive.namelist()).decode(
        errors="replace"
    )
    for word in ("histogram3d", "activation/a", "update_ratio", "activation_mean/a"):
        assert word in text


@REAL
def test_neptune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    neptune = pytest.importorskip("neptune", reason="needs neptune")
    monkeypatch.chdir(tmp_path)
    off = ["hardware_metrics", "stdout", "stderr", "traceback"]
    options: dict[str, Any] = {f"capture_{name}": False for name in off}
    client = neptune.init_run(mode="offline", project="a/b", **options)

    def log(run: Any, row: dict[str, Any], step: int) -> None:
        for tag, value in row.items():
            run[tag].append(value, step=step)

    write(ClientLogger(client, log))
    client.stop()
    logs = "".join(file.read_text() for file in tmp_path.rglob("*.log"))
    assert all(word in logs for word in ("LogImages", "update_ratio"))


@REAL
def test_aim(tmp_path: Path) -> None:
    aim = pytest.importorskip("aim", reason="needs aim")
    client = aim.Run(
        repo=str(tmp_path), system_tracking_interval=None, capture_terminal_logs=False
    )

    def log(run: Any, row: dict[str, Any], step: int) -> None:
        for tag, value in row.items():
            run.track(value, name=tag, step=step)

    write(ClientLogger(client, log))
    from aim.storage.context import Context  # pyright: ignore[reportMissingImports]

    context = Context({})
    sequence = client.get_distribution_sequence("activation/a", context)
    _, (value, *_) = next(iter(sequence.data.view("val").items()))
    moments = HISTOGRAM.moments
    assert value.weights.sum() == pytest.approx(moments.count)
    assert value.range == pytest.approx([moments.low, moments.high])
    assert client.get_image_sequence("update_ratio", context) is not None
    client.close()


@REAL
def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    trackio = pytest.importorskip("trackio", reason="needs trackio")
    client = trackio.init(project="p")
    write(ClientLogger(client, lambda run, row, step: run.log(row, step=step)))
    trackio.finish()
    assert len(list(tmp_path.rglob("*.png"))) == 1
    assert (tmp_path / "p.db").is_file()


@REAL
def test_swanlab(tmp_path: Path) -> None:
    swanlab = pytest.importorskip("swanlab", reason="needs swanlab")
    integration = pytest.importorskip("swanlab.integration.pytorch_lightning")
    logger = integration.SwanLabLogger(
        project="p", mode="offline", log_dir=str(tmp_path)
    )
    write(logger)
    swanlab.finish()
    assert len(list(tmp_path.rglob("*.png"))) == 1


class Client:
    """Stand-in: the methods of the four clients, by name and parameters, as the versions above have them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, int | None]] = []

    # comet_ml 3.58.8
    def log_image(
        self, image_data: Any, name: str | None = None, step: int | None = None
    ) -> None:
        self.calls.append(("image", name, step))

    def log_histogram_3d(
        self, values: Any, name: str | None = None, step: int | None = None
    ) -> None:
        self.calls.append(("histogram", (name, values.total), step))

    # aim 3.29.1
    def track(
        self, value: Any, name: str | None = None, step: int | None = None
    ) -> None:
        self.calls.append((value.kind, name, step))

    # trackio 0.43.0
    def log(self, metrics: dict[str, Any], step: int | None = None) -> None:
        ((tag, value),) = metrics.items()
        self.calls.append((value.kind, tag, step))

    # neptune 1.14.0.post2
    def __getitem__(self, path: str) -> Any:
        client = self

        class Handler:
            def append(self, value: Any, *, step: float | None = None) -> None:
                client.calls.append((value, path, step))  # type: ignore[arg-type]

        return Handler()


class Value:
    """Stand-in of a picture or histogram of a client."""

    def __init__(self, value: Any = None, **options: Any) -> None:
        self.kind = "histogram" if {"np_histogram", "hist"} & set(options) else "image"


class CometCounts:
    """Stand-in of comet_ml's Histogram."""

    def add(self, values: Any, counts: Any = None) -> None:
        assert len(values) == len(counts)
        assert np.all(np.diff(values) > 0)
        self.total = int(counts.sum())


class NeptuneFile:
    """Stand-in of neptune's File."""

    @staticmethod
    def as_image(image: Any) -> str:
        return "image"


def stand_in(monkeypatch: pytest.MonkeyPatch, package: str) -> ClientLogger:
    """Puts a package in place that has the names that are imported of it, and returns a logger of its client."""
    names = {"Image": Value, "Distribution": Value, "File": NeptuneFile}
    histogram = CometCounts if package == "comet_ml" else Value
    for name in (package, f"{package}.types", f"{package}.data_structure"):
        module = ModuleType(name)
        vars(module).update(names, Histogram=histogram)
        monkeypatch.setitem(sys.modules, name, module)
    client = type("Run", (Client,), {"__module__": f"{package}.run"})()
    return ClientLogger(client, lambda *_: None)


PICTURE = ("image", "update_ratio", 4)
CALLS = {
    "comet_ml": [("histogram", ("activation/a", 100), 4), PICTURE],
    "neptune": [("image", "pictures/update_ratio", 4)],
    "aim": [("histogram", "activation/a", 4), PICTURE],
    "trackio": [("histogram", "activation/a", 4), PICTURE],
}


@pytest.mark.parametrize("package", CALLS)
def test_calls(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = stand_in(monkeypatch, package)
    write(logger)
    assert logger.experiment.calls == CALLS[package]


def test_a_client_that_refuses_histograms_keeps_numbers_and_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logger = stand_in(monkeypatch, "aim")
    rows: list[int] = []
    logger._log = lambda client, row, step: rows.append(step)
    monkeypatch.setattr(sys.modules["aim"], "Distribution", None)
    writer = Writer([logger])
    with pytest.warns(RuntimeWarning) as warned:
        [writer.write_record(RECORD, step) for step in range(3)]
    (warning,) = warned
    assert str(warning.message).startswith("ClientLogger gets no more histograms")
    assert (rows, writer.takes_pictures) == ([0, 1, 2], True)
