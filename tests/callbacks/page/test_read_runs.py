"""Tests of reading runs from event files: ours, those of other writers, restarts, and what is no run."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import ALL, Regression, every_step, fit, tanh_net
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

from callbacks.page.read_runs import flattened, read_runs, short_names
from callbacks.page.run import Run

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[Any]]:
    """A run as it was read, and the instruments that wrote it."""
    folder = tmp_path_factory.mktemp("run")
    instruments = every_step(ALL)
    logger = TensorBoardLogger(folder, name=None)
    logger.log_hyperparams({"lr": 0.1, "net": {"width": 4}})
    fit(lambda: Regression(tanh_net()), instruments, logger=logger)
    (run,) = read_runs([folder])
    return run, instruments


def test_numbers_are_those_of_the_instruments(observed: tuple[Run, list[Any]]) -> None:
    run, instruments = observed
    compared = 0
    for instrument in instruments:
        for tag in instrument.logged(instrument.latest):
            series = run.numbers.get(tag)
            if series is None:  # a histogram
                continue
            steps, values = instrument.history[tag]
            # Of NumberRange, from the first number that is not zero.
            first = list(steps).index(series.steps[0])
            assert not any(values[:first])
            assert list(series.steps) == list(steps)[first:]
            assert series.values == pytest.approx(values[first:], rel=1e-6)
            compared += 1
    assert compared > 20


def test_histograms_hold_all_values(observed: tuple[Run, list[Any]]) -> None:
    run, _ = observed
    points = run.distributions["activation/net.1"]
    assert [point.step for point in points] == [0, 1, 2, 3, 4]
    for point in points:
        assert len(point.edges) == len(point.counts) + 1
        assert sum(point.counts) == 8 * 8
        assert list(point.edges) == sorted(point.edges)


def test_verdict_and_findings(observed: tuple[Run, list[Any]]) -> None:
    run, instruments = observed
    check = instruments[-1]
    assert run.health == json.loads(check.report.to_json())
    assert (run.verdict, run.summary) == (check.report.verdict, check.report.summary)


def test_pictures_are_png(observed: tuple[Run, list[Any]]) -> None:
    run, _ = observed
    assert run.images["saturation_map/net.1"]
    for images in run.images.values():
        assert all(image.png.startswith(b"\x89PNG") for image in images)


def test_settings_are_those_of_the_logger(observed: tuple[Run, list[Any]]) -> None:
    assert observed[0].settings == {"lr": 0.1, "net.width": 4}


def test_a_run_of_another_project(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(5):
            writer.add_scalar("loss", 5 - step, step)
            writer.add_histogram("weights", torch.randn(1000), step)
    (run,) = read_runs([tmp_path])
    assert run.numbers["loss"].values == [5, 4, 3, 2, 1]
    assert [sum(point.counts) for point in run.distributions["weights"]] == [1000] * 5
    assert all(map(math.isfinite, run.distributions["weights"][0].edges))
    assert run.verdict == "not judged"


def test_a_restarted_run_goes_on(tmp_path: Path) -> None:
    for steps, offset in ((range(4), 0), (range(2, 6), 10)):
        with SummaryWriter(str(tmp_path)) as writer:
            for step in steps:
                writer.add_scalar("loss", step + offset, step)
    (run,) = read_runs([tmp_path])
    assert list(run.numbers["loss"].steps) == [0, 1, 2, 3, 4, 5]
    assert list(run.numbers["loss"].values)[2:] == [12, 13, 14, 15]


@pytest.mark.parametrize("exists", [True, False])
def test_what_is_no_run(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "empty"
    if exists:
        folder.mkdir()
    reason = "has no event file in it" if exists else "is no folder"
    with pytest.raises(ValueError, match=reason):
        read_runs([folder])


def test_names_are_what_tells_folders_apart() -> None:
    runs = [Path("runs/kaiming/version_0"), Path("runs/naive/version_0")]
    assert short_names(runs) == ["kaiming/version_0", "naive/version_0"]
    assert short_names(runs[:1]) == ["version_0"]
    assert short_names([Path("runs"), Path("runs/deep")]) == ["runs", "deep"]


def test_settings_are_flat_and_can_be_json() -> None:
    settings = {"a": {"b": [1, 2], "c": {}}, "d": math.inf}
    assert flattened(settings) == {"a.b": [1, 2], "a.c": {}, "d": "inf"}


def test_objects_of_python_in_settings_are_text(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("loss", 1, 0)
    text = "net: !!python/object:os.PathLike {}\nlr: 0.1\n"
    (tmp_path / "hparams.yaml").write_text(text)
    (run,) = read_runs([tmp_path])
    assert run.settings["lr"] == 0.1
    assert "python/object" in run.settings["net"]
