"""Smoke tests of the benchmarks, at their smallest size."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PEERS = ["ours, all four", "add_histogram (bolts)", "wandb.watch", "the lecture's way"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            ["notes_table.py", "--steps=5", "--lessons", "naive", "batchnorm"],
            ["naive", "batchnorm", "first batch"],
        ),
        (
            ["training_speed.py", "--rounds=1", "--steps=30", "--pieces"],
            ["raw loop", "our fit", "manual optimization"],
        ),
        (["import_time.py", "--rounds=1"], ["import lightning.pytorch", "callbacks"]),
        (
            ["growth.py", "--rounds=1", "--steps=1", "--networks", "layers x 2"],
            ["layers x 2"],
        ),
        (
            ["verdicts.py", "--smallest"],
            ["dead_relu@mlp_relu", "Healthy trainings", "faults found"],
        ),
        (
            [
                "overhead.py",
                "--workloads=mlp",
                "--rounds=1",
                "--steps=2",
                "--ways",
                *PEERS,
            ],
            ["bare", *PEERS],
        ),
    ],
    ids=lambda value: value[0],
)
def test_runs(program: list[str], expected: list[str], tmp_path: Path) -> None:
    name, *options = program
    process = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    for text in expected:
        assert text in process.stdout


def test_published_losses_equal_the_notes(golden: dict[str, Any]) -> None:
    spec = importlib.util.spec_from_file_location(
        "notes_table", ROOT / "benchmarks" / "notes_table.py"
    )
    assert spec
    assert spec.loader
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    losses = {
        row["config"]: (row["loss_at_init"], row["train"], row["val"])
        for row in golden["seed_table"]
    }
    assert losses == program.PUBLISHED
