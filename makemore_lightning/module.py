"""LightningModule of the MLP: steps, metrics, optimizer and learning rate schedule."""

import copy
import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import (
    LRSchedulerCallable,
    OptimizerCallable,
)
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import MultiStepLR

from makemore_lightning.charts import log_numbers
from makemore_lightning.errors import InputError
from makemore_lightning.hparams import mean_saturation, settings_row
from makemore_lightning.initialization import find_scheme
from makemore_lightning.logged_steps import is_logged_step
from makemore_lightning.loop_overhead import LowOverheadModule
from makemore_lightning.metrics import CharacterMetrics, RunningLoss, mean_loss
from makemore_lightning.model import MLP, make_activation
from makemore_lightning.optimization import (
    as_lightning_takes_it,
    build_optimizer,
    drop_schedule,
    drop_step,
    warn_if_of_another_length,
)
from makemore_lightning.sampling import SampleRequest, sample_names
from makemore_lightning.vocabulary import Vocabulary

Batch = tuple[Tensor, Tensor]
"""Contexts `(N, block_size)` and targets `(N,)`."""


class MakemoreModule(LowOverheadModule):
    """Trains an `MLP` to predict the next character of a name.

    The vocabulary and the block size come from the datamodule, at `setup`, and are saved in the checkpoint, as are all
    arguments except `optimizer` and `lr_scheduler`.

    Logs `train/...`, `val/...` and `test/...`, each with `loss` (cross entropy in nats), `bits_per_character`,
    `perplexity` (a number of characters) and `accuracy` (a fraction). Train metrics are those of one batch, at the
    steps of `is_logged_step` and at the last; step 0 is the state at initialization. With them are `train/loss_log10`
    (log10 of the loss), `train/loss_mean` (mean over all batches since the point before) and `train/lr` (learning
    rate). Validation metrics have the last step before the validation. TensorBoard shows the losses first, as
    `Loss/...`. Its HParams table contains the settings that tell the lessons apart, and `initial/loss`,
    `final/train_loss` (both of all training rows), `final/val_loss` and, if a callback measures it, `final/saturation`.

    Args:
        embedding_dim: Length of a character's embedding.
        hidden_sizes: Width of each hidden layer, first to last.
        activation: Class name in `torch.nn`, such as "Tanh" or "ReLU".
        batchnorm: Adds a BatchNorm between each hidden layer and its activation.
        head_batchnorm: Adds a BatchNorm after the head.
        batchnorm_momentum: Weight of the newest batch in BatchNorm's running mean and variance, above 0, at most 1.
        init: Initialization scheme, see `initialization.py`.
        gain: Gain in Kaiming's rule; None = the gain of the activation (5/3 for tanh).
        head_scale: Factor on the head's weights at initialization; None = the default of the scheme.
        optimizer: Builds the optimizer from the parameters; None = SGD with learning rate 0.1.
        lr_drop: Fraction of `max_steps` or `max_epochs` after which the learning rate is a tenth, above 0; 1 = never.
        lr_scheduler: Builds another schedule, in the place of `lr_drop`, from the optimizer.
        lr_interval: Unit in which `lr_scheduler` advances.

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
    validations: int | None = None
    """Number of validations to spread evenly over a fit; None = those of the Trainer's arguments."""
    initial_loss: float | None
    """Mean loss of all training rows before the first update; of a resumed run, that of its first start."""

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
        lr_drop: float = 0.5,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["step", "epoch"] = "step",
    ) -> None:
        super().__init__()
        find_scheme(init)
        make_activation(activation)
        if not 0 < lr_drop <= 1:
            raise InputError(
                f"lr_drop must be a fraction of the run above 0 and at most 1, got {lr_drop}"
            )
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
        self.lr_drop = lr_drop
        self._make_optimizer = optimizer
        self._make_scheduler = lr_scheduler
        self._lr_interval = lr_interval
        self._default_schedule: MultiStepLR | None = None
        self.initial_loss: float | None = None
        self._running_loss = RunningLoss()
        self._latest_batch: tuple[int, Tensor, Tensor, Tensor] | None = None
        self._logged_step = -1
        self._resumed_step = 0
        self._last_step: float = math.inf

    # Network, built for the vocabulary of the data

    def setup(self, stage: str) -> None:
        """Builds the network for the vocabulary and the block size of the trainer's data, unless it is built."""
        data = self._data
        if data is not None and not hasattr(self, "network"):
            self.build(data.vocabulary, data.block_size)
        has_batchnorm = self.hparams["batchnorm"] or self.hparams["head_batchnorm"]
        if stage == "fit" and has_batchnorm and getattr(data, "batch_size", 2) < 2:
            raise InputError(
                "BatchNorm needs batches of 2 rows or more, got batch_size 1: the variance of one row is 0. "
                "Give a larger --data.batch_size, or --model.batchnorm false"
            )

    def build(self, vocabulary: Vocabulary, block_size: int) -> None:
        """Builds the metrics and the network, with weights drawn from PyTorch's global generator.

        Args:
            vocabulary: Characters of the input and the output.
            block_size: Number of characters in a context.
        """
        self.vocabulary = vocabulary
        self.block_size = block_size
        self.network = MLP(len(vocabulary), block_size, **self._network_arguments)
        self.train_metrics = CharacterMetrics(len(vocabulary))
        self.eval_metrics = CharacterMetrics(len(vocabulary))
        self.example_input_array = torch.zeros(2, block_size, dtype=torch.int64)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the vocabulary, the block size and the state of the logged losses to the checkpoint."""
        checkpoint["vocabulary"] = self.vocabulary.characters
        checkpoint["block_size"] = self.block_size
        checkpoint["initial_loss"] = self.initial_loss
        checkpoint["running_loss"] = self._running_loss.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Builds the network of the checkpoint, and sets the vocabulary of the data to that of the checkpoint.

        Raises:
            InputError: If the data has another block size, or another vocabulary and the run is a fit.
        """
        self._resumed_step = checkpoint["global_step"]
        self.initial_loss = checkpoint.get("initial_loss")
        if "running_loss" in checkpoint:
            self._running_loss.load_state_dict(checkpoint["running_loss"])
        vocabulary, block_size = (
            Vocabulary(checkpoint["vocabulary"]),
            checkpoint["block_size"],
        )
        trainer = self._trainer
        data = getattr(trainer, "datamodule", None)
        if data is not None and (data.vocabulary, data.block_size) != (
            vocabulary,
            block_size,
        ):
            is_fit = trainer is not None and trainer.state.fn == "fit"
            if is_fit or data.block_size != block_size:
                raise InputError(
                    f"the checkpoint is of block_size {block_size} and the characters {vocabulary.characters!r}, the "
                    f"data of {data.block_size} and {data.vocabulary.characters!r}; give the data it was trained on."
                )
            data.vocabulary = vocabulary
        if not hasattr(self, "network") or (self.vocabulary, self.block_size) != (
            vocabulary,
            block_size,
        ):
            self.build(vocabulary, block_size)

    # Steps

    def forward(self, contexts: Tensor) -> Tensor:
        """Maps contexts `(N, block_size)` of ids to logits `(N, vocab_size)`."""
        return self.network(contexts)

    def on_fit_start(self) -> None:
        if self.trainer.ckpt_path is not None:
            rank_zero_info("Going on after step %d.", self._resumed_step)
        elif self._data is not None:
            # A copy, because a forward pass in training mode changes the running statistics of BatchNorm.
            network = copy.deepcopy(self.network).train()
            self.initial_loss = self._train_loss(network)
            size = len(self.vocabulary)
            rank_zero_info(
                f"initial loss {self.initial_loss:.2f} (knowing nothing: ln {size} = {math.log(size):.2f})"
            )

    @property
    def _data(self) -> Any:
        return getattr(self._trainer, "datamodule", None)

    def _train_loss(self, network: nn.Module) -> float:
        """Returns the mean loss of all training rows."""
        contexts, targets = self._data.windows("train")
        return mean_loss(network, contexts.to(self.device), targets.to(self.device))

    def on_train_start(self) -> None:
        self._latest_batch = None
        self._logged_step = -1
        self._running_loss.to(self.device)
        self._last_step = self.trainer.estimated_stepping_batches
        self._spread_validations()
        if self._default_schedule is not None and self.trainer.is_global_zero:
            warn_if_of_another_length(
                self._default_schedule, self._drop_step(), self.lr_drop
            )

    def _spread_validations(self) -> None:
        if self.validations is None or math.isinf(self._last_step):
            return
        # Set here because the number of steps is not known before: max_epochs counts epochs, max_time seconds.
        batches = self._last_step * self.trainer.accumulate_grad_batches
        self.trainer.check_val_every_n_epoch = None  # across epochs
        self.trainer.val_check_batch = math.ceil(batches / self.validations)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        contexts, targets = batch
        logits = self.network(contexts)
        loss = F.cross_entropy(logits, targets)
        step = self.trainer.global_step
        self._running_loss.add(loss.detach())
        self._latest_batch = (step, loss.detach(), logits.detach(), targets)
        # The metrics cost as much as the step itself, so that they are computed on logged steps only.
        if is_logged_step(step, self.trainer.log_every_n_steps):  # type: ignore[attr-defined]  set by a connector
            self._log_latest_batch()
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.trainer.global_step >= self._last_step:
            # Lightning validates a fit that is to stop, but not one that ends between two validations.
            self.trainer.should_stop = True
        if self.trainer.should_stop:
            self._log_latest_batch(is_last=True)

    def _log_latest_batch(self, is_last: bool = False) -> None:
        if self._latest_batch is None:
            return  # a subclass with a training step of its own
        step, loss, logits, targets = self._latest_batch
        # With gradient accumulation, only the first batch of the step is logged.
        if step == self._logged_step or not self.loggers:
            return
        self._logged_step = step
        self.train_metrics.update(loss, logits, targets)
        metrics = self.train_metrics.compute()
        self.train_metrics.reset()
        metrics["loss_log10"] = metrics["loss"].log10()
        metrics["loss_mean"] = self._mean_since_last_point(is_last)
        metrics["lr"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        log_numbers(self.loggers, "train", metrics, step)

    def _mean_since_last_point(self, is_last: bool) -> Tensor:
        mean = self._running_loss.mean()
        # A resumed run has no point here: the mean of its next point is that of a run without stop.
        if not is_last:
            self._running_loss.reset()
        return self.trainer.strategy.reduce(mean, reduce_op="mean")  # type: ignore[return-value]

    def on_train_end(self) -> None:
        # At the end, because TensorBoard's HParams table lists only runs with a metric.
        loggers = [each for each in self.loggers if isinstance(each, TensorBoardLogger)]
        metrics = self._results() if loggers else {}
        row = settings_row(self.hparams, self.trainer.optimizers[0])
        for logger in loggers:
            logger.log_hyperparams(row, metrics, self.trainer.global_step)

    def _results(self) -> dict[str, float]:
        """Returns the metrics of the HParams table; without those that the run has not."""
        # A copy, because the fit may go on in training mode.
        network = copy.deepcopy(self.network).eval()
        results = {
            "initial/loss": self.initial_loss,
            "final/train_loss": None
            if self._data is None
            else self._train_loss(network),
            "final/val_loss": self.trainer.callback_metrics.get("val/loss"),
            "final/saturation": mean_saturation(self.trainer.callbacks),  # type: ignore[attr-defined]
        }
        return {
            name: float(value) for name, value in results.items() if value is not None
        }

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
        metrics = self.eval_metrics.compute()
        self.eval_metrics.reset()
        is_fit = self.trainer.state.fn == "fit"
        values = {f"{split}/{name}": value for name, value in metrics.items()}
        self.log_dict(values, logger=False if is_fit else None, sync_dist=True)
        self.log(
            f"{split}_loss",
            metrics["loss"],
            prog_bar=True,
            logger=False,
            sync_dist=True,
        )
        if is_fit:
            # The last step before the validation; the sanity check, before the first, is the point at step 0.
            step = max(self.trainer.global_step - 1, 0)
            log_numbers(self.loggers, split, metrics, step)

    def predict_step(self, batch: SampleRequest, batch_idx: int) -> list[str]:
        return sample_names(self.network, self.vocabulary, self.block_size, batch)

    # Optimization

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = build_optimizer(self._make_optimizer, self.parameters())
        if self._make_scheduler is None:
            self._default_schedule = drop_schedule(optimizer, self._drop_step())
            schedule = as_lightning_takes_it(self._default_schedule, "step")
        else:
            scheduler = self._make_scheduler(optimizer)
            schedule = as_lightning_takes_it(scheduler, self._lr_interval)
        return {"optimizer": optimizer, "lr_scheduler": schedule}  # type: ignore[typeddict-item]

    def _drop_step(self) -> int:
        return drop_step(self.trainer.estimated_stepping_batches, self.lr_drop)
