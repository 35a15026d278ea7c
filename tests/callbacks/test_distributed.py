"""Tests that several ranks record what one process records of the same batches, and that none waits in vain."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests" / "helpers"
pytestmark = pytest.mark.slow
Records = dict[str, dict[str, dict[str, Any]]]
"""Records by class name of the instrument, step and tag."""


def run(
    folder: Path, devices: int, strategy: str, variant: str = ""
) -> tuple[list[Records], str]:
    """Fits in processes of their own; returns the records of each rank, and the error output."""
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.run(
        [
            sys.executable,
            str(HELPERS / "distributed_fit.py"),
            str(folder),
            str(devices),
            strategy,
            variant,
        ],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{HELPERS}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    records = [
        json.loads((folder / f"rank_{rank}.json").read_text())
        for rank in range(devices)
    ]
    return records, process.stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Records:
    (records,), _ = run(tmp_path_factory.mktemp("alone"), 1, "auto")
    return records


def expect_same(records: Records, expected: Records) -> None:
    """Checks that the numbers are those of one process, and that histograms have as many values."""
    assert records.keys() == expected.keys()
    for kind, steps in expected.items():
        assert records[kind].keys() == steps.keys()
        assert len(steps) == 12
        for step, record in steps.items():
            measured = records[kind][step]
            assert measured.keys() == record.keys()
            for tag, value in record.items():
                if isinstance(value, float):
                    assert measured[tag] == pytest.approx(value, rel=1e-5, abs=1e-7), (
                        step,
                        tag,
                    )
                else:
                    assert sum(measured[tag]) == sum(value), (step, tag)


def test_some_steps_are_clipped(alone: Records) -> None:
    """Otherwise the norm after clipping would prove nothing."""
    fractions = [
        record["grad_norm/clip_active"] for record in alone["GradStats"].values()
    ]
    assert len(set(fractions)) > 2
    assert min(fractions) < 1


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_numbers_are_those_of_the_whole_batch(
    strategy: str, alone: Records, tmp_path: Path
) -> None:
    (first, second), errors = run(tmp_path, 2, strategy)
    assert first == second
    expect_same(first, alone)
    assert "RuntimeWarning" not in errors


def test_functions_are_pooled_over_ranks(tmp_path: Path) -> None:
    (expected,), _ = run(tmp_path / "alone", 1, "auto", "functions")
    (first, second), _ = run(tmp_path / "ddp", 2, "ddp", "functions")
    assert first == second
    assert "activation_mean/net.tanh_1" in first["ActivationHistogram"]["0"]
    expect_same(first, expected)


def test_a_layer_that_only_one_rank_calls(tmp_path: Path) -> None:
    (first, second), _ = run(tmp_path, 2, "ddp", "branch")
    assert first == second
    assert "activation_mean/net.seldom" in first["ActivationHistogram"]["0"]


def test_a_measurement_that_fails_on_one_rank_is_off_on_all(tmp_path: Path) -> None:
    (first, second), errors = run(tmp_path, 2, "ddp", "fault")
    assert first == second
    activations, series = first["ActivationHistogram"], "activation_mean/net.pair.1"
    assert [step for step in activations if series in activations[step]] == ["0", "1"]
    assert len(activations) == 12
    assert all("activation_mean/net.tanh1" in activations[step] for step in activations)
    assert len(first["UpdateRatio"]) == 12
    assert errors.count("the casts of the output of net.pair.1 failed in step 2") == 1


def test_tensor_parallelism_is_not_measured_and_warned_of(tmp_path: Path) -> None:
    (first, _), errors = run(tmp_path, 2, "tensor_parallel")
    assert first == {}
    assert "GradStats cannot measure under tensor parallelism" in errors


def test_ranks_with_different_parameters_are_found(tmp_path: Path) -> None:
    records, output = run(tmp_path, 2, "ddp", "drift")
    for rank in records:
        counts = {
            int(step): record.get("health/unequal_ranks", 0.0)
            for step, record in rank["HealthCheck"].items()
        }
        assert not any(counts[step] for step in range(2))
        assert all(counts[step] == 1 for step in range(3, 12))
    assert "nan" not in output.lower()
