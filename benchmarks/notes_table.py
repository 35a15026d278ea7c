"""Loss at initialization and after training for each lesson, next to the values published in the notes.

    python benchmarks/notes_table.py                            embedded names, five lessons, about 15 minutes
    python benchmarks/notes_table.py --names makemore   makemore's own file
    python benchmarks/notes_table.py --steps 200 --lessons naive         a quick trial

Each lesson runs its config, unchanged, through the command line of train.py.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

# The configs name the classes of callbacks, which must have been imported.
import callbacks  # noqa: E402, F401
from makemore_lightning.cli import MakemoreCLI, make_cli  # noqa: E402
from makemore_lightning.datamodule import Split  # noqa: E402

PUBLISHED = {
    "naive": (27.0, 2.1245, 2.1682),
    "logits": (3.31, 2.0704, 2.1345),
    "tanh": (3.31, 2.0370, 2.1059),
    "kaiming": (3.32, 2.0377, 2.1070),
    "batchnorm": (3.32, 2.0668, 2.1048),
}
"""Losses in the notes, on makemore's names: first batch before any update, then train and val after training."""


class Losses(NamedTuple):
    """Cross entropies in nats."""

    at_init: float
    """All training rows, before any update: the "initial loss" that `fit` prints."""
    first_batch: float
    """The first batch, before any update: the notes' loss at initialization."""
    train: float
    """All training rows, after training."""
    val: float
    """All validation rows, after training."""


class FirstBatch(Callback):
    """Records the loss of the first batch."""

    loss: float

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if trainer.global_step == 1:
            self.loss = float(outputs["loss"])


def train_lesson(lesson: str, names: str, steps: int | None, folder: str) -> Losses:
    """Trains one config and evaluates the network on all rows of train and val."""
    first_batch = FirstBatch()
    arguments = [
        "fit",
        f"--config={ROOT / 'configs' / lesson}.yaml",
        f"--data.names={names}",
    ]
    arguments += [
        f"--trainer.logger.init_args.save_dir={folder}",
        "--trainer.enable_progress_bar=false",
    ]
    arguments += ["--trainer.enable_model_summary=false"]
    if steps is not None:
        arguments.append(f"--trainer.max_steps={steps}")
    cli = make_cli(arguments, callbacks=[first_batch])
    assert cli.model.initial_loss is not None
    return Losses(
        cli.model.initial_loss,
        first_batch.loss,
        evaluate(cli, "train"),
        evaluate(cli, "val"),
    )


def evaluate(cli: MakemoreCLI, split: Split) -> float:
    """Returns the mean cross entropy over all rows of a split."""
    batches = cli.datamodule.evaluation_dataloader(split)
    (metrics,) = cli.trainer.validate(cli.model, batches, verbose=False)
    return metrics["val/loss"]


def table_row(lesson: str, losses: Losses) -> list[str]:
    first_batch, train, val = PUBLISHED[lesson]
    return [
        lesson,
        f"{losses.at_init:.2f}",
        f"{losses.first_batch:.2f}",
        f"{losses.train:.4f}",
        f"{losses.val:.4f}",
        f"{first_batch:.2f}",
        f"{train:.4f}",
        f"{val:.4f}",
        f"{losses.train - train:+.4f}",
        f"{losses.val - val:+.4f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--names", default="ssa2018", help="as for NamesDataModule")
    parser.add_argument(
        "--lessons", nargs="+", default=list(PUBLISHED), choices=PUBLISHED
    )
    parser.add_argument(
        "--steps",
        type=int,
        help="steps of each lesson, default 200 000 as in the configs",
    )
    options = parser.parse_args()
    sys.argv = sys.argv[:1]  # LightningCLI warns if both args and sys.argv are given

    measured = ("at init", "first batch", "train", "val")
    published = ("notes: first batch", "train", "val")
    table = Table("lesson", *measured, *published, "off: train", "val")
    with tempfile.TemporaryDirectory() as folder:
        for lesson in options.lessons:
            losses = train_lesson(lesson, options.names, options.steps, folder)
            table.add_row(*table_row(lesson, losses))
    Console(width=130).print(f"names: {options.names}", table)


if __name__ == "__main__":
    main()
