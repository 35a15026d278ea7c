"""Tests of the HParams table: its columns of settings, and its metrics."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from command_line import CONFIGS, fit_arguments, run_in_process
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from makemore_lightning.hparams import mean_saturation, settings_row

pytestmark = pytest.mark.usefixtures("without_pictures")

ARGUMENTS = {
    "batchnorm": False,
    "gain": None,
    "head_scale": None,
    "hidden_sizes": (100, 100),
    "init": "kaiming",
    "activation": "ReLU",
    "embedding_dim": 10,
}


def row(**arguments: Any) -> dict[str, Any]:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    return settings_row({**ARGUMENTS, **arguments}, optimizer)


def test_defaults_are_replaced_by_their_values() -> None:
    assert row() == {
        "batchnorm": False,
        "gain": pytest.approx(2**0.5),
        "head_scale": 0.1,
        "hidden_sizes": "100, 100",
        "init": "kaiming",
        "lr": 0.1,
    }
    assert row(gain=3.0, head_scale=0.5)["gain"] == 3.0
    assert row(gain=3.0, head_scale=0.5)["head_scale"] == 0.5


def test_a_gain_without_effect_is_1() -> None:
    assert row(init="naive", gain=3.0)["gain"] == 1.0


def test_mean_saturation_over_layers() -> None:
    callbacks = [
        object(),
        SimpleNamespace(latest=None),
        SimpleNamespace(latest={"weight_std/a": 3.0}),
        SimpleNamespace(
            latest={"saturation/a": 0.25, "saturation/b": 0.75, "dead_units/a": 0.0}
        ),
    ]
    assert mean_saturation(callbacks) == 0.5
    assert mean_saturation(callbacks[:3]) is None


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EventAccumulator]:
    """Events of a short run of each of three lessons."""
    folder = tmp_path_factory.mktemp("lessons")
    names = folder / "few.txt"
    text = (CONFIGS[0].parents[1] / "data" / "names.txt").read_text()
    names.write_text("\n".join(text.splitlines()[:60]))
    events = {}
    for lesson in ("naive", "batchnorm", "deep"):
        arguments = fit_arguments(lesson, 6, f"--data.names={names}")
        assert run_in_process(folder, *arguments).code == 0
        path: Path = folder / "runs" / lesson / "version_0"
        events[lesson] = EventAccumulator(str(path)).Reload()
    return events


def test_columns(tables: dict[str, EventAccumulator]) -> None:
    columns = set()
    for events in tables.values():
        content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
        info = metadata.parse_session_start_info_plugin_data(content)
        columns |= set(info.hparams)
    assert columns == set(row())


def test_metrics(tables: dict[str, EventAccumulator]) -> None:
    for lesson, events in tables.items():
        values = {
            tag: events.Scalars(tag)[-1].value
            for tag in events.Tags()["scalars"]
            if tag.startswith(("final/", "initial/"))
        }
        assert set(values) == {
            "initial/loss",
            "final/train_loss",
            "final/val_loss",
            "final/saturation",
        }
        assert values["final/val_loss"] == events.Scalars("val/loss")[-1].value
        layers = [tag for tag in events.Tags()["scalars"] if "saturation/n" in tag]
        saturation = [events.Scalars(tag)[-1].value for tag in layers]
        assert len(layers) == (5 if lesson == "deep" else 1)
        assert values["final/saturation"] == pytest.approx(
            sum(saturation) / len(layers)
        )
