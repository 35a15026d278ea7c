"""The published run, through the Trainer and the config that a person runs."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer

from train import make_cli

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings(
    "ignore:LightningCLI's args parameter", "ignore:This property will be removed:DeprecationWarning"
)


class Losses(Callback):
    """Keeps the loss of every batch."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.values.append(float(outputs["loss"]))


def test_deep_batchnorm(makemore_names: Path, golden: dict[str, Any], tmp_path: Path) -> None:
    expected = golden["deep_batchnorm_stock"]
    losses = Losses()
    cli = make_cli(
        [
            "fit",
            f"--config={ROOT / 'configs' / 'deep_batchnorm.yaml'}",
            f"--data.names={makemore_names}",
            f"--trainer.max_steps={expected['steps']}",
            f"--trainer.logger.init_args.save_dir={tmp_path}",
            "--trainer.enable_progress_bar=false",
        ],
        callbacks=[losses],
    )
    assert sum(p.numel() for p in cli.model.parameters()) == expected["parameters"]
    assert losses.values[0] == pytest.approx(expected["loss_first"], abs=1e-6)
    assert losses.values[-1] == pytest.approx(expected["loss_last"], abs=1e-4)
    for split in ("train", "val"):
        batches = cli.datamodule.evaluation_dataloader(split)
        result = cli.trainer.validate(cli.model, batches, verbose=False)[0]
        assert result["val/loss"] == pytest.approx(expected[split], abs=1e-4)


@pytest.mark.parametrize(
    ("lesson", "loss"), [("naive", 27.8817), ("logits", 3.31), ("tanh", 3.31), ("kaiming", 3.32), ("batchnorm", 3.32)]
)
def test_loss_at_initialization(makemore_names: Path, tmp_path: Path, lesson: str, loss: float) -> None:
    """The first line that the lecture prints for the naive network, to its last digit; the notes' for the others."""
    losses = Losses()
    make_cli(
        [
            "fit",
            f"--config={ROOT / 'configs' / lesson}.yaml",
            f"--data.names={makemore_names}",
            "--trainer.max_steps=1",
            f"--trainer.logger.init_args.save_dir={tmp_path}",
            "--trainer.enable_progress_bar=false",
        ],
        callbacks=[losses],
    )
    assert losses.values == [pytest.approx(loss, abs=5e-5 if lesson == "naive" else 0.03)]
