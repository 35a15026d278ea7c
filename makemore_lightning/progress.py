"""A progress bar that counts steps and costs next to nothing."""

import math
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class StepProgress(ProgressBar):
    """Shows one bar for the whole training, in optimizer steps, with the loss of the batch in hand and what the module
    logs for the progress bar.

    Lightning's own bars do their work at every batch and count batches an epoch. A step of a small network takes less
    than that work, and a run here is so many steps.

    Args:
        refreshes_per_second: How often the bar is brought up to date.
    """

    def __init__(self, refreshes_per_second: float = 4) -> None:
        super().__init__()
        self._interval = 1 / refreshes_per_second
        self._next_refresh = 0.0
        self._enabled = True
        self._progress: Progress | None = None
        self._loss: dict[str, Any] = {}

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._enabled:
            return
        steps = trainer.estimated_stepping_batches
        columns = (
            TextColumn("Step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=10),  # the whole line fits 80 columns
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}"),
        )
        self._progress = Progress(*columns, auto_refresh=False)
        total = None if math.isinf(steps) else int(steps)
        self._task = self._progress.add_task("", total=total, rate="", metrics="")
        self._started_at = (trainer.global_step, time.monotonic())
        self._progress.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._progress is not None and time.monotonic() >= self._next_refresh:
            self._refresh(trainer, self._progress, outputs)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop(trainer)

    def _refresh(self, trainer: Trainer, progress: Progress, outputs: Any = None) -> None:
        now = time.monotonic()
        self._next_refresh = now + self._interval
        first_step, start = self._started_at
        rate = (trainer.global_step - first_step) / max(now - start, 1e-9)
        if isinstance(outputs, dict) and "loss" in outputs:
            self._loss = {"loss": outputs["loss"]}
        figures = {**self._loss, **trainer.progress_bar_metrics}
        shown = "  ".join(f"{name} {float(value):.4f}" for name, value in figures.items())
        progress.update(self._task, completed=trainer.global_step, rate=f"{rate:.0f} steps/s", metrics=shown)
        progress.refresh()

    def _stop(self, trainer: Trainer) -> None:
        if self._progress is not None:
            self._refresh(trainer, self._progress)
            self._progress.stop()
            self._progress = None
