"""The notes' table: loss at initialization and after training, lesson by lesson, beside the published figures.

    python benchmarks/notes_table.py                            embedded names, five lessons, about 15 minutes
    python benchmarks/notes_table.py --names makemore   makemore's own file
    python benchmarks/notes_table.py --steps 200 --lessons naive         to see that it works

Each lesson is its config as it stands, run by the command line of train.py.
"""

import argparse
import copy
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from makemore_lightning import MakemoreModule  # noqa: E402
from makemore_lightning.datamodule import Split  # noqa: E402
from train import MakemoreCLI, make_cli  # noqa: E402

PUBLISHED = {
    "naive": (27.0, 2.1245, 2.1682),
    "logits": (3.31, 2.0704, 2.1345),
    "tanh": (3.31, 2.0370, 2.1059),
    "kaiming": (3.32, 2.0377, 2.1070),
    "batchnorm": (3.32, 2.0668, 2.1048),
}
"""The notes' figures on makemore's names: the loss at initialization, and of train and val after training."""


class Figures(NamedTuple):
    """Cross entropies in nats."""

    at_init: float
    """Of all training rows before any update."""
    first_batch: float
    """Of the first batch, before any update: what the notes call the loss at initialization."""
    train: float
    """Of all training rows after training."""
    val: float
    """Of all validation rows after training."""


class LossAtInitialization(Callback):
    """Takes both losses before the first update."""

    at_init: float
    first_batch: float

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, MakemoreModule)
        contexts, targets = trainer.datamodule.windows("train")  # type: ignore[attr-defined]
        # A copy: BatchNorm takes note of what it sees.
        network = copy.deepcopy(pl_module.network)
        with torch.no_grad():
            self.at_init = float(F.cross_entropy(network(contexts), targets))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == 1:
            self.first_batch = float(outputs["loss"])


def train_lesson(lesson: str, names: str, steps: int | None, folder: str) -> Figures:
    """Trains one config and evaluates it on all of train and val."""
    losses = LossAtInitialization()
    arguments = ["fit", f"--config={ROOT / 'configs' / lesson}.yaml", f"--data.names={names}"]
    arguments += [f"--trainer.logger.init_args.save_dir={folder}", "--trainer.enable_progress_bar=false"]
    arguments += ["--trainer.enable_model_summary=false"]
    if steps is not None:
        arguments.append(f"--trainer.max_steps={steps}")
    cli = make_cli(arguments, callbacks=[losses])
    return Figures(losses.at_init, losses.first_batch, evaluate(cli, "train"), evaluate(cli, "val"))


def evaluate(cli: MakemoreCLI, split: Split) -> float:
    """Returns the mean cross entropy over all rows of a split."""
    batches = cli.datamodule.evaluation_dataloader(split)
    return cli.trainer.validate(cli.model, batches, verbose=False)[0]["val/loss"]


def row(lesson: str, ours: Figures) -> list[str]:
    first_batch, train, val = PUBLISHED[lesson]
    losses = [ours.at_init, ours.first_batch, first_batch]
    shown = [f"{loss:.2f}" for loss in losses]
    after = [f"{loss:.4f}" for loss in (ours.train, ours.val, train, val)]
    off = [f"{ours.train - train:+.4f}", f"{ours.val - val:+.4f}"]
    return [lesson, *shown[:2], *after[:2], shown[2], *after[2:], *off]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", default="ssa2018", help="as for the datamodule")
    parser.add_argument("--lessons", nargs="+", default=list(PUBLISHED), choices=PUBLISHED)
    parser.add_argument("--steps", type=int, help="fewer than the configs' 200 000")
    options = parser.parse_args()
    sys.argv = sys.argv[:1]  # or LightningCLI warns of two command lines

    ours = ("at init", "first batch", "train", "val")
    table = Table("lesson", *ours, "notes: first batch", "train", "val", "off: train", "val")
    with tempfile.TemporaryDirectory() as folder:
        for lesson in options.lessons:
            figures = train_lesson(lesson, options.names, options.steps, folder)
            table.add_row(*row(lesson, figures))
    Console(width=130).print(f"names: {options.names}", table)


if __name__ == "__main__":
    main()
