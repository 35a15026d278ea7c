"""Tests of fits without TensorBoard, matplotlib or Pillow, in processes that cannot import them."""

import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[3]

PROGRAM = """
import sys, warnings
import lightning.fabric.loggers.tensorboard as tensorboard
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import {logger}

# After Lightning, whose torchmetrics imports matplotlib wherever it is installed.
for name in [name for name in sys.modules if name.split(".")[0] in {missing}]:
    del sys.modules[name]
sys.modules.update(dict.fromkeys({missing}))
tensorboard._TENSORBOARD_AVAILABLE = "tensorboard" not in {missing}
sys.path.insert(0, {root!r})
from callbacks import ActivationHistogram, GradStats

quiet = {{"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}}
instruments = [ActivationHistogram({figures}), GradStats({figures})]
trainer = Trainer(callbacks=instruments, logger={logger}("logs"), max_steps=3, **quiet)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    trainer.fit(BoringModel())
    trainer.logger.finalize("success")
for warning in caught:
    if warning.category is RuntimeWarning:
        print(warning.message)
"""

DRAWING = ["matplotlib", "PIL"]


def messages_of_a_fit(
    folder: Path, missing: list[str], logger: str, figures: str = ""
) -> list[str]:
    """Fits without some packages, logs to `folder`; returns the warnings of the instruments."""
    program = PROGRAM.format(
        root=str(ROOT), missing=missing, logger=logger, figures=figures
    )
    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def written(folder: Path) -> EventAccumulator:
    version = folder / "logs" / "lightning_logs" / "version_0"
    events = EventAccumulator(str(version), {"histograms": 0, "images": 0})
    events.Reload()
    return events


def test_a_csv_file_needs_none_of_them(tmp_path: Path) -> None:
    missing = ["tensorboard", "tensorboardX", *DRAWING]
    assert messages_of_a_fit(tmp_path, missing, "CSVLogger") == []
    (file,) = tmp_path.glob("logs/lightning_logs/version_0/metrics.csv")
    assert "activation_std/layer" in file.read_text().splitlines()[0]


def test_without_matplotlib_only_pictures_are_missing(tmp_path: Path) -> None:
    (message,) = messages_of_a_fit(tmp_path, DRAWING, "TensorBoardLogger")
    assert message.startswith("There are no pictures of diagnostics: matplotlib")
    tags = written(tmp_path).Tags()
    assert "activation/layer" in tags["histograms"]
    assert "grad_norm/total" in tags["scalars"]
    assert not tags["images"]


def test_whoever_wants_no_pictures_is_not_warned(tmp_path: Path) -> None:
    messages = messages_of_a_fit(
        tmp_path, DRAWING, "TensorBoardLogger", "figures=False"
    )
    assert messages == []


def test_tensorboardx_gets_numbers_histograms_and_pictures(tmp_path: Path) -> None:
    """Lightning's TensorBoardLogger writes with tensorboardX where TensorBoard is not installed."""
    pytest.importorskip("tensorboardX")
    assert messages_of_a_fit(tmp_path, ["tensorboard"], "TensorBoardLogger") == []
    events = written(tmp_path)
    assert [event.step for event in events.Scalars("grad_norm/total")] == [0, 1, 2]
    assert len(events.Histograms("activation/layer")) == 3
    assert events.Images("activation_distribution")
