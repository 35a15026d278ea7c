"""Callback that saves the most recent state of a run, to resume from after any kind of stop."""

import logging
import math
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

log = logging.getLogger(__name__)


class LastCheckpoint(Checkpoint):
    """Saves `checkpoints/last.ckpt` in the log folder; a run resumed from the file is bit-equal to one without stop.

    Saved one step after each validation, at the end, and on SIGINT (Ctrl-C) or SIGTERM. On one process, a signal ends
    the run after the current batch and a validation, with exit code 130 or 143; a second signal ends it at once. In
    that case, as after `kill -9`, the file is the one of the last validation. The file is replaced atomically: it is
    never incomplete.
    (`ModelCheckpoint(save_last=True)` saves only if the monitored metric improved.)

    Belongs after `ModelCheckpoint` in the list of callbacks, so that the file includes the state of `ModelCheckpoint`.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[LastCheckpoint()], logger=False)
    """

    def __init__(self) -> None:
        super().__init__()
        self._step = 0
        self._saved_step: int | None = None
        self._last_step: float = math.inf
        self._is_due = self._is_stopping = False
        self._loops: tuple[int, dict[str, Any]] | None = None
        self._stop_signal: int | None = None
        self._handlers: dict[int, Any] = {}

    def path(self, trainer: Trainer) -> Path:
        """Returns the path of the file, next to the checkpoints of ModelCheckpoint if the trainer has one."""
        for callback in trainer.checkpoint_callbacks:
            if folder := getattr(callback, "dirpath", None):
                return Path(folder) / "last.ckpt"
        return (
            Path(trainer.log_dir or trainer.default_root_dir)
            / "checkpoints"
            / "last.ckpt"
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = trainer.global_step
        self._last_step = trainer.estimated_stepping_batches
        self._saved_step = self._stop_signal = self._loops = None
        self._is_due = self._is_stopping = False
        # Several ranks must stop at the same batch, which Lightning's own handlers ensure.
        # Python can set signal handlers in the main thread only.
        if (
            trainer.world_size == 1
            and threading.current_thread() is threading.main_thread()
        ):
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._on_signal)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        previous, self._step = self._step, trainer.global_step
        if self._step == previous:
            return  # gradients are still being accumulated
        is_last = self._stop_signal is not None or self._step >= self._last_step
        # Not in a later hook: a run resumed from a checkpoint of the validation counts its steps anew if no validation
        # is due at that step, and from one of `on_train_end` or `on_exception` it is not bit-equal.
        if self._is_due or is_last or trainer.should_stop:
            self._is_due = False
            self._save(trainer)
        if self._stop_signal is not None:
            self._stop_after_validation(trainer)

    def _stop_after_validation(self, trainer: Trainer) -> None:
        if self._is_stopping or not trainer.enable_validation:
            self._stop()
        # Lightning validates a fit that is to stop; its handler of SIGTERM would end the validation as well.
        self._is_stopping = trainer.should_stop = True

    def _stop(self) -> None:
        self._restore_handlers()
        signal.raise_signal(signal.SIGTERM)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self._is_due = True
        if trainer.global_step == self._saved_step:
            self._save(trainer)  # again, with the state of ModelCheckpoint
        if self._is_stopping:
            self._stop()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # The first checkpoint of a step is that of the end of its batch, the only one to resume from.
        if self._loops is None or self._loops[0] != trainer.global_step:
            self._loops = trainer.global_step, checkpoint["loops"]
        checkpoint["loops"] = self._loops[1]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore_handlers()
        if self._step != self._saved_step:
            self._save(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._restore_handlers()
        if isinstance(exception, SIGTERMException) and self._stop_signal is not None:
            exception.code = 128 + self._stop_signal
        if self._saved_step is not None:
            log.warning(
                "Stopped. The state after step %d is in %s",
                self._saved_step,
                self.path(trainer),
            )

    def _save(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  set by a connector
            return
        trainer.save_checkpoint(self.path(trainer), weights_only=False)
        self._saved_step = trainer.global_step
        # A resumed run logs no step before the checkpoint: buffered points of these steps must be on disk.
        for logger in trainer.loggers:
            logger.save()

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._stop_signal is not None:
            self._restore_handlers()
            signal.raise_signal(signum)
        self._stop_signal = signum

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
