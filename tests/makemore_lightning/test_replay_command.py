"""Tests of `train.py replay`."""

import json
from pathlib import Path

import pytest
from command_line import RUN_FOLDER, fit_arguments, run_in_process

BAD_RATE = "--model.optimizer.init_args.lr=3e38"
"""Learning rate that makes the loss infinite in the second step."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundle of a run of kaiming.yaml."""
    folder = tmp_path_factory.mktemp("run")
    result = run_in_process(
        folder,
        *fit_arguments("kaiming", 4),
        "--trainer.callbacks+=FlightRecorder",
        BAD_RATE,
    )
    assert result.code in (0, None), result.err
    return folder / RUN_FOLDER / "flight_recorder" / "step_000001_nonfinite"


def test_names_the_operation_and_is_bit_equal(bundle: Path) -> None:
    result = run_in_process(bundle.parent, "replay", str(bundle))
    assert result.code in (0, None), result.err
    assert result.out.startswith("NaN or Inf began in step 1, in the forward pass")
    assert "Bit-equal to the training" in result.out


def test_json(bundle: Path) -> None:
    result = run_in_process(bundle.parent, "replay", str(bundle), "--json")
    content = json.loads(result.out)
    assert content["step"] == 1
    assert content["is_equal"]


def test_what_is_no_bundle_is_one_line(bundle: Path, tmp_path: Path) -> None:
    result = run_in_process(tmp_path, "replay", "nowhere")
    assert result.code == 2
    assert result.err.startswith("error: nowhere has no config.yaml")
    assert len(result.err.splitlines()) == 1


def test_a_config_of_another_project_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("lr: 1.0\n")
    result = run_in_process(tmp_path, "replay", ".")
    assert result.code == 2
    assert "is no config of train.py" in result.err
