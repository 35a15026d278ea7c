"""The network in training: steps, metrics, optimizer and its schedule."""

import logging
import sys
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable, ReduceLROnPlateau
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR

from makemore_lightning.errors import InputError
from makemore_lightning.initialization import find_scheme
from makemore_lightning.lean_loop import LeanModule
from makemore_lightning.metrics import CharacterMetrics
from makemore_lightning.model import MLP, make_activation
from makemore_lightning.sampling import SampleRequest, sample_names
from makemore_lightning.vocabulary import Vocabulary

log = logging.getLogger(__name__)

Batch = tuple[Tensor, Tensor]


class MakemoreModule(LeanModule):
    """Trains an `MLP` to predict the next character of a name.

    The characters and the length of the context come from the data, at `setup`, and are kept in the checkpoint; so is
    every argument. Writes `train/...`, `val/...` and `test/...`, each with `loss` (cross entropy in nats),
    `bits_per_character`, `perplexity` (a number of characters) and `accuracy` (a share). Those of train are of one
    batch, at steps 0, n, 2n, ... for n = `Trainer(log_every_n_steps=n)`; step 0 is the state at initialization.
    A validation stands at the last step before it, where Lightning puts it. TensorBoard's table of runs gets every
    argument, and `final/val_loss`.

    Args:
        embedding_dim: Length of a character's vector.
        hidden_sizes: Width of each hidden layer, first to last.
        activation: Class name in `torch.nn`, such as "Tanh" or "ReLU".
        batchnorm: BatchNorm between each hidden layer and its activation.
        head_batchnorm: BatchNorm after the head, too.
        batchnorm_momentum: Weight of the newest batch in BatchNorm's running figures, above 0, at most 1.
        init: Initialization scheme, see `initialization.py`.
        gain: Kaiming's gain; None = the activation's own (5/3 for tanh).
        head_scale: What the head's weights are multiplied by at the start; None = the scheme's own.
        optimizer: Builds the optimizer from the parameters; None = SGD with learning rate 0.1.
        lr_scheduler: Builds the schedule from the optimizer; None = a tenth of the rate from half-way through
            `max_steps` or `max_epochs` on, as in the notes.
        lr_interval: Whether a schedule of one's own goes on after each step or each epoch.

    Raises:
        InputError: If an activation or a scheme is unknown, or a checkpoint does not fit the data.

    Example:
        >>> from lightning.pytorch import Trainer, seed_everything
        >>> from makemore_lightning import MakemoreModule, NamesDataModule
        >>> _ = seed_everything(2147483647, verbose=False)
        >>> quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        >>> trainer = Trainer(max_steps=10, enable_model_summary=False, **quiet)
        >>> trainer.fit(MakemoreModule(init="naive"), NamesDataModule())
    """

    network: MLP
    vocabulary: Vocabulary
    block_size: int

    def __init__(
        self,
        *,
        embedding_dim: int = 10,
        hidden_sizes: tuple[int, ...] = (200,),
        activation: str = "Tanh",
        batchnorm: bool = False,
        head_batchnorm: bool = False,
        batchnorm_momentum: float = 0.1,
        init: Literal["naive", "logits", "tanh", "kaiming", "torch"] = "kaiming",
        gain: float | None = None,
        head_scale: float | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["step", "epoch"] = "step",
    ) -> None:
        super().__init__()
        find_scheme(init)
        make_activation(activation)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"])
        self._network_arguments: dict[str, Any] = {
            "embedding_dim": embedding_dim,
            "hidden_sizes": hidden_sizes,
            "activation": activation,
            "batchnorm": batchnorm,
            "head_batchnorm": head_batchnorm,
            "batchnorm_momentum": batchnorm_momentum,
            "init": init,
            "gain": gain,
            "head_scale": head_scale,
        }
        self._make_optimizer = optimizer
        self._make_scheduler = lr_scheduler
        self._lr_interval = lr_interval
        self._drop: MultiStepLR | None = None
        self._logged_at = -1
        self._validated_at = 0

    # What the data decides

    def setup(self, stage: str) -> None:
        """Builds the network for the characters and the context of the trainer's data, unless it is there."""
        data = getattr(self.trainer, "datamodule", None)
        if data is not None and not hasattr(self, "network"):
            self.build(data.vocabulary, data.block_size)

    def build(self, vocabulary: Vocabulary, block_size: int) -> None:
        """Makes the network, its weights drawn from PyTorch's global generator, and its metrics."""
        self.vocabulary = vocabulary
        self.block_size = block_size
        self.network = MLP(len(vocabulary), block_size, **self._network_arguments)
        self.train_metrics = CharacterMetrics(len(vocabulary))
        self.eval_metrics = CharacterMetrics(len(vocabulary))
        self.example_input_array = torch.zeros(2, block_size, dtype=torch.int64)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps what the network was built for."""
        checkpoint["vocabulary"] = self.vocabulary.characters
        checkpoint["block_size"] = self.block_size

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Makes the network that the checkpoint is of, and has the data speak its characters.

        Raises:
            InputError: If training is to go on with data of other characters or another context.
        """
        vocabulary, block_size = Vocabulary(checkpoint["vocabulary"]), checkpoint["block_size"]
        trainer = self._trainer
        data = getattr(trainer, "datamodule", None)
        if data is not None and (data.vocabulary, data.block_size) != (vocabulary, block_size):
            if (trainer is not None and trainer.state.fn == "fit") or data.block_size != block_size:
                raise InputError(
                    f"the checkpoint is of block_size {block_size} and the characters {vocabulary.characters!r}, the "
                    f"data of {data.block_size} and {data.vocabulary.characters!r}; give the data it was trained on."
                )
            data.vocabulary = vocabulary
        if not hasattr(self, "network") or (self.vocabulary, self.block_size) != (vocabulary, block_size):
            self.build(vocabulary, block_size)

    # Steps

    def forward(self, contexts: Tensor) -> Tensor:
        """Turns contexts `(N, block_size)` of ids into logits `(N, vocab_size)`."""
        return self.network(contexts)

    def on_train_start(self) -> None:
        self._logged_at = -1
        if self._drop is not None and sorted(self._drop.milestones) != self._half_way():
            log.warning(
                "The checkpoint is of a run of another length: the learning rate drops at step %s, as there, and not "
                "at %s, half-way through this one.",
                *self._drop.milestones,
                *self._half_way(),
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        contexts, targets = batch
        logits = self.network(contexts)
        loss = F.cross_entropy(logits, targets)
        if self._is_logged_step():
            self._log_train(loss.detach(), logits.detach(), targets)
        return loss

    def _is_logged_step(self) -> bool:
        # Metrics cost as much as the step itself: nothing is computed that is not shown.
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  set by a connector
        step = self.trainer.global_step
        due = every > 0 and step % every == 0 and step != self._logged_at
        if due:
            self._logged_at = step  # the first batch alone, where several make a step
        return due

    def _log_train(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        self.train_metrics.update(loss, logits, targets)
        values = {f"train/{name}": value for name, value in self.train_metrics.compute().items()}
        self.train_metrics.reset()
        # Not through self.log: it first writes at step n - 1, and the loss at initialization is the first lesson. It
        # would also look at every logged figure again in every step.
        for logger in self.loggers:
            logger.log_metrics({name: float(value) for name, value in values.items()}, step=self.trainer.global_step)

    def on_train_end(self) -> None:
        # At the end, because TensorBoard's table of runs shows only those that come with a result.
        result = self.trainer.callback_metrics.get("val/loss")
        for logger in self.loggers:
            if isinstance(logger, TensorBoardLogger) and result is not None:
                logger.log_hyperparams(self._table_row(), {"final/val_loss": float(result)}, self._validated_at)

    def _table_row(self) -> dict[str, Any]:
        optimizer = self.trainer.optimizers[0]
        settings = {**getattr(self.trainer.datamodule, "hparams", {}), **self.hparams}  # type: ignore[attr-defined]
        row = {name: value for name, value in settings.items() if not name.startswith("_")}
        return {**row, "optimizer": type(optimizer).__name__, "lr": optimizer.defaults["lr"]}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch)

    def _evaluate(self, batch: Batch) -> None:
        contexts, targets = batch
        logits = self.network(contexts)
        self.eval_metrics.update(F.cross_entropy(logits, targets), logits, targets)

    def on_validation_epoch_end(self) -> None:
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        self._log_evaluation("test")

    def _log_evaluation(self, split: str) -> None:
        values = self.eval_metrics.compute()
        self.eval_metrics.reset()
        self._validated_at = self.trainer.global_step
        self.log_dict({f"{split}/{name}": value for name, value in values.items()}, sync_dist=True)
        self.log(f"{split}_loss", values["loss"], prog_bar=True, logger=False, sync_dist=True)

    def predict_step(self, batch: SampleRequest, batch_idx: int) -> list[str]:
        return sample_names(self.network, self.vocabulary, self.block_size, batch)

    # Optimization

    def configure_optimizers(self) -> OptimizerLRScheduler:
        make = self._make_optimizer
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1) if make is None else make(self.parameters())
        if self._make_scheduler is None:
            drop = {"scheduler": self._drop_half_way(optimizer), "interval": "step"}
            return {"optimizer": optimizer, "lr_scheduler": drop}  # type: ignore[typeddict-item]
        scheduler = self._make_scheduler(optimizer)
        schedule: dict[str, Any] = {"scheduler": scheduler, "interval": self._lr_interval}
        if isinstance(scheduler, ReduceLROnPlateau):
            # Goes by a figure that comes with a validation, not with every step.
            schedule.update(monitor=scheduler.monitor, interval="epoch", strict=False)
        return {"optimizer": optimizer, "lr_scheduler": schedule}  # type: ignore[typeddict-item]

    def _drop_half_way(self, optimizer: Optimizer) -> LRScheduler:
        self._drop = MultiStepLR(optimizer, milestones=self._half_way(), gamma=0.1)
        return self._drop

    def _half_way(self) -> list[int]:
        steps = min(self.trainer.estimated_stepping_batches, sys.maxsize)  # a run without end never gets there
        return [max(1, int(steps) // 2)]
