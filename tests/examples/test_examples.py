"""Tests of the examples: each runs by the command of its README, ends healthy, and is short enough to be copied."""

import os
import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer, seed_everything

import callbacks
import makemore_lightning

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PATHS = sorted(EXAMPLES.glob("*.py"))
README = (EXAMPLES / "README.md").read_text()
COMMANDS = dict(re.findall(r"^\| \[`(\S+)`\].*\| `python (.*)` \|$", README, re.M))
"""Arguments of Python by file."""

PACKAGES = {
    "gpt2.py": "transformers",
    "hydra_configs.py": "hydra",
    "wandb_offline.py": "wandb",
    "mlflow_tracking.py": "mlflow",
}
"""Packages that one example needs, beside those of all."""

EVENTS = "lightning_logs/version_0/events*"
LEFT_BEHIND = {
    "wandb_offline.py": "wandb/offline-run-*/run-*.wandb",
    "mlflow_tracking.py": "mlruns/*/*/artifacts/health.md",
}
"""A file that an example writes into the folder that it runs in, where that is not `EVENTS`."""

ENDS = {"flight_recorder.py": "missing at row and column: [[31, 3]]"}
"""What an example prints at its end, where that is no verdict."""

MOST_LINES = 79

TRACKERS = ("MLFLOW", "WANDB", "_WANDB")
"""Beginnings of variables by which these packages, used in this process before, tell others where they write."""

INSTALLED = "makemore_lightning.callbacks"
"""Module that the examples import, as whoever has installed the package does."""


@pytest.fixture
def as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets examples that run in this process import the callbacks of the checkout by their installed name.

    Two copies of a class in one process would make its name ambiguous for LightningCLI.
    """
    monkeypatch.setitem(sys.modules, INSTALLED, callbacks)
    monkeypatch.setattr(makemore_lightning, "callbacks", callbacks, raising=False)


def environment() -> dict[str, str]:
    """Returns the variables that an example is run with."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(TRACKERS)
    }
    return {**own, "OMP_NUM_THREADS": "1", "WANDB_SILENT": "true"}


def test_each_has_a_row_of_the_readme() -> None:
    assert sorted(COMMANDS) == [path.name for path in PATHS]
    for name, command in COMMANDS.items():
        assert command.removeprefix("-m pytest ") == f"examples/{name}"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_is_short_and_says_what_was_added(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES
    configs = {
        "lightning_cli.py": [EXAMPLES / "lightning_cli.yaml"],
        "hydra_configs.py": list(EXAMPLES.glob("configs/callbacks/*.yaml")),
    }
    for file in configs.get(path.name, [path]):
        code = file.read_text()
        assert ("# Added" in code) == (INSTALLED in code), file.name


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_ends_healthy(name: str, tmp_path: Path) -> None:
    if find_spec(INSTALLED) is None:  # not imported, see `as_installed`
        pytest.skip("the package is not installed")
    pytest.importorskip("sklearn", reason="the data are scikit-learn's")
    if name in PACKAGES:
        package = PACKAGES[name]
        pytest.importorskip(package, reason=f"{name} needs {package}")
    *options, path = COMMANDS[name].split()
    process = subprocess.run(
        [sys.executable, *options, str(ROOT / path)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert "Training diagnostics" not in process.stderr  # begins each warning
    if options:
        assert "2 passed" in process.stdout
        assert not list(tmp_path.iterdir())  # diagnose writes nothing
    else:
        expected = ENDS.get(name, "health ok: nothing found in")
        assert expected in process.stdout, process.stdout
        assert list(tmp_path.glob(LEFT_BEHIND.get(name, EVENTS)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("as_installed")
def test_a_sick_example_gets_the_report_of_the_readme(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("sklearn", reason="the data are scikit-learn's")
    example = runpy.run_path(str(EXAMPLES / "cnn_digits.py"))
    seed_everything(0)
    trainer = Trainer(
        max_epochs=6,
        callbacks=[callbacks.HealthCheck()],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(example["CNN"](lr=1.0), *example["digits"]())
    report = capsys.readouterr().out.strip()
    assert report.startswith("health warn: update_high")
    assert "dead_units in net.5" in report
    # Figures differ in their last digit from one processor to the next.
    printed = re.sub(r"\d+", "0", report)
    assert f"```\n{printed}\n```" in re.sub(r"\d+", "0", README)


def test_the_cli_gains_four_lines() -> None:
    config = (EXAMPLES / "lightning_cli.yaml").read_text()
    added = re.search(r"  # Added: the four lines.*\n((?:  .*\n)*)", config)
    assert added
    assert len(added[1].splitlines()) == 4
    assert INSTALLED not in (EXAMPLES / "lightning_cli.py").read_text()


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize(
    ("overrides", "names", "on_fail"),
    [
        ([], ["ModelSummary", "HealthCheck", "UpdateRatio"], "report"),
        (
            ["callbacks.health_check.on_fail=stop"],
            ["ModelSummary", "HealthCheck", "UpdateRatio"],
            "stop",
        ),
        (["callbacks=none"], [], None),
    ],
    ids=str,
)
def test_hydra_makes_the_callbacks(
    overrides: list[str], names: list[str], on_fail: str | None
) -> None:
    hydra: Any = pytest.importorskip("hydra", reason="hydra-core is not installed")
    configs = str(EXAMPLES / "configs")
    with hydra.initialize_config_dir(configs, version_base="1.3"):
        config = hydra.compose("train", overrides=overrides)
    example = runpy.run_path(str(EXAMPLES / "hydra_configs.py"))
    made = example["instantiate_callbacks"](config.callbacks)
    assert [type(callback).__name__ for callback in made] == names
    assert [callback.on_fail for callback in made[1:2]] == (
        [] if on_fail is None else [on_fail]
    )
