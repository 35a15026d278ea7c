"""A checkpoint to go on from, whatever ends the run."""

import logging
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
    """Keeps `checkpoints/last.ckpt` in the run's folder, from which training goes on as if it had never stopped.

    Written after each validation, at the end, and when the run is asked to stop: Ctrl-C or SIGTERM ends a run of one
    process after the batch in hand, with exit code 130 or 143; a second one ends it at once. After that, as after
    `kill -9`, the file is that of the last validation. It is replaced in one move, so it is never half-written.
    (`ModelCheckpoint(save_last=True)` writes only when the monitored figure improved.)

    Stands after `ModelCheckpoint` in the list of callbacks, so that it holds the record of the best one.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[LastCheckpoint()], logger=False)
    """

    def __init__(self) -> None:
        super().__init__()
        self._step = 0
        self._written_at: int | None = None
        self._asked_by: int | None = None
        self._handlers: dict[int, Any] = {}

    def path(self, trainer: Trainer) -> Path:
        """Where the checkpoint of this trainer's run lies: beside the best one, if one is kept."""
        folders = [getattr(callback, "dirpath", None) for callback in trainer.checkpoint_callbacks]
        own = Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints"
        return Path(next(filter(None, folders), own)) / "last.ckpt"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = trainer.global_step
        self._written_at = self._asked_by = None
        # Several processes must stop at the same batch, which Lightning sees to.
        if trainer.world_size == 1 and threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        previous, self._step = self._step, trainer.global_step
        if self._step == previous:
            return  # gradients are still being accumulated
        # Here and not in `on_train_end` or `on_exception`: from there Lightning does not go on exactly.
        if self._asked_by is not None or self._step == trainer.max_steps:
            self._write(trainer)
        if self._asked_by is not None:
            # Lightning ends the run after the validation of this step, if there is one.
            self._restore_handlers()
            signal.raise_signal(signal.SIGTERM)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore_handlers()
        if self._step != self._written_at:
            self._write(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore_handlers()
        if isinstance(exception, SIGTERMException) and self._asked_by is not None:
            exception.code = 128 + self._asked_by
        if self._written_at is not None:
            log.warning("Stopped. Go on after step %d with: --ckpt_path %s", self._written_at, self.path(trainer))

    def _write(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  set by a connector
            return
        trainer.save_checkpoint(self.path(trainer), weights_only=False)
        self._written_at = trainer.global_step
        # The charts must not fall behind: what lies before the checkpoint is never written to them again.
        for logger in trainer.loggers:
            logger.save()

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        if self._asked_by is not None:
            self._restore_handlers()
            signal.raise_signal(signum)
        self._asked_by = signum

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
