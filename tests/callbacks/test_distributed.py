"""Several processes say what one says of the same batches, and none waits for another in vain."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
Said = dict[str, Any]


def run(folder: Path, devices: int, strategy: str, happens: str = "") -> tuple[list[Said], str]:
    """Fits in processes of their own; returns what each said, and the terminal."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "distributed_fit.py"), str(folder), str(devices), strategy, happens],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"rank_{rank}.json").read_text()) for rank in range(devices)], done.stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Said:
    (said,), _ = run(tmp_path_factory.mktemp("alone"), 1, "auto")
    return said["said"]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_figures_are_those_of_the_whole_batch(strategy: str, alone: Said, tmp_path: Path) -> None:
    (first, second), _ = run(tmp_path, 2, strategy)
    assert first == second
    assert first["said"].keys() == alone.keys()
    for kind, steps in alone.items():
        assert first["said"][kind].keys() == steps.keys()
        assert len(steps) == 12
        for step, tags in steps.items():
            found = first["said"][kind][step]
            assert found.keys() == tags.keys()
            for tag, value in tags.items():
                if isinstance(value, float):
                    assert found[tag] == pytest.approx(value, rel=1e-5, abs=1e-7), (step, tag)
                else:
                    assert sum(found[tag]) == sum(value), (step, tag)


def test_a_layer_that_only_one_process_calls(tmp_path: Path) -> None:
    (first, second), _ = run(tmp_path, 2, "ddp", "branch")
    assert first == second
    assert "activation_mean/net.seldom" in first["said"]["ActivationHistogram"]["0"]


def test_a_statistic_that_fails_on_one_process_ends_on_all(tmp_path: Path) -> None:
    (first, second), terminal = run(tmp_path, 2, "ddp", "fault")
    for said in (first, second):
        assert list(said["said"]["ActivationHistogram"]) == ["0", "1"]
        assert "ActivationHistogram" in said["off"]
        assert len(said["said"]["UpdateRatio"]) == 12  # needs no histogram
    assert terminal.count("ActivationHistogram failed at net.tanh1 in step 2") == 1


def test_what_cannot_be_right_is_told_and_left_out(tmp_path: Path) -> None:
    (first, _), terminal = run(tmp_path, 2, "tensor_parallel")
    assert first["said"] == {}
    assert "GradStats cannot measure under tensor parallelism" in terminal
