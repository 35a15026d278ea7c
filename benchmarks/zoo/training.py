"""Training: a LightningModule, its batches and the arguments of its Trainer."""

import logging
import random
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

STEPS = 350
"""Training batches of a case, unless it says otherwise: seven windows of 50 steps."""

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
"""Trainer arguments of every case."""


@dataclass
class Training:
    """One training that is ready to run.

    Attributes:
        module: Model, loss and optimizer.
        batches: Training batches, or a LightningDataModule.
        arguments: Further arguments of the Trainer.
        steps: Number of training batches, of all epochs together.
        epochs: Number of epochs.
    """

    module: LightningModule
    batches: Any
    arguments: dict[str, Any] = field(default_factory=dict)
    steps: int = STEPS
    epochs: int = 1


class LossRecord(Callback):
    """Loss of each training batch."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any, **__: Any
    ) -> None:
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        self.losses.append(float(loss))


def silence() -> None:
    """Turns off the messages of Lightning and the warnings of Python, and takes one thread."""
    torch.set_num_threads(1)
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


def build(make: Callable[[], Training], seed: int) -> Training:
    """Builds a training from a seed: the weights, the batches, and what a break draws at random."""
    random.seed(seed)
    torch.manual_seed(seed)
    return make()


def fit(
    training: Training, callbacks: Iterable[Callback], steps: int | None = None
) -> None:
    """Runs a training for its number of batches, or for fewer."""
    batches = min(training.steps, steps or training.steps)
    epochs = min(training.epochs, batches)
    trainer = Trainer(
        **QUIET,
        **training.arguments,
        max_epochs=epochs,
        limit_train_batches=batches // epochs,
        callbacks=list(callbacks),
    )
    trainer.fit(training.module, training.batches)
