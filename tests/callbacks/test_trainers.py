"""Tests of Trainers and hosts of all kinds: weight averaging, spawned processes, batches left out, a copied folder."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fits import (
    Recorder,
    Regression,
    every_step,
    expect_close,
    expect_no_hooks,
    fit,
    loader,
    numbers,
    records_of,
    tanh_net,
)
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


def test_averaged_weights() -> None:
    """The average is a copy made at setup, and swapped in for validation."""
    options: dict[str, Any] = {"max_steps": 10, "val_check_interval": 2}

    class Validated(Regression):
        def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
            self.training_step(batch, batch_idx)

    recorder, averaged = Recorder(), EMAWeightAveraging(decay=0.5)
    fit(
        lambda: Validated(tanh_net()),
        [*every_step(figures=False), averaged, recorder],
        val=loader(),
        **options,
    )
    plain = records_of(lambda: Validated(tanh_net()), val=loader(), **options)
    for steps in recorder.records.values():
        for step, record in steps.items():
            reference = {
                tag: value
                for tag, value in numbers(plain[step]).items()
                if tag in record
            }
            expect_close(numbers(record), reference)
    assert averaged._average_model is not None
    expect_no_hooks(averaged._average_model)


def test_spawned_processes(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    fit(
        lambda: Regression(tanh_net()),
        every_step(figures=False),
        strategy="ddp_spawn",
        devices=2,
        logger=logger,
    )
    (events,) = tmp_path.rglob("events*")  # of one of the two processes
    assert events.stat().st_size > 10_000


def test_a_batch_that_is_left_out() -> None:
    class LeavesOut(Regression):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
            return -1 if batch_idx == 3 else None

    recorder = Recorder()
    instruments = every_step(figures=False)
    _, module = fit(
        lambda: LeavesOut(tanh_net()),
        [*instruments, recorder],
        max_steps=-1,
        max_epochs=1,
    )
    assert [list(steps) for steps in recorder.records.values()] == [[0, 1, 2]] * len(
        instruments
    )
    expect_no_hooks(module)


HOST = """
import sys
sys.modules["makemore_lightning"] = None  # cannot be imported
import {lightning} as L
import torch
from torch import nn
from {package} import ActivationHistogram, GradStats, SaturationMap, UpdateRatio

class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    def training_step(self, batch, i):
        return self.net(batch).square().mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

four = [ActivationHistogram(), GradStats(), UpdateRatio(), SaturationMap()]
trainer = L.Trainer(callbacks=four, max_steps=3, accelerator="cpu", enable_checkpointing=False,
                    enable_progress_bar=False, enable_model_summary=False, logger=True, default_root_dir=sys.argv[1])
trainer.fit(Model(), torch.utils.data.DataLoader(torch.randn(40, 4), batch_size=8))
print(sorted(tag.split("/")[0] for c in four for tag in c.latest))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "lightning"),
    [
        ("callbacks", "lightning"),
        ("my_diagnostics", "pytorch_lightning"),
        ("project.tools.watch", "lightning"),
    ],
)
def test_the_folder_copied_under_any_name(
    package: str, lightning: str, tmp_path: Path
) -> None:
    folder = Path(__file__).parents[2] / "callbacks"
    target = tmp_path.joinpath(*package.split("."))
    for file in folder.rglob("*.py"):
        copied = target / file.relative_to(folder)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(file.read_bytes())
    (tmp_path / "main.py").write_text(HOST.format(package=package, lightning=lightning))
    process = subprocess.run(
        [sys.executable, "main.py", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    for plot in ("activation", "weight_grad", "update_ratio", "saturation"):
        assert f"'{plot}'" in process.stdout
    assert "RuntimeWarning" not in process.stderr
