"""Progress bar in optimizer steps, with negligible cost per batch."""

import logging
import math
import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


class StepProgress(ProgressBar):
    """One progress bar for the whole training, in optimizer steps, with the loss and the logged progress-bar metrics.

    Lightning's own bars are updated at every batch and count the batches of an epoch. On a small network, such an
    update takes longer than a step, and a run is measured in steps.

    Args:
        refreshes_per_second: Maximum rate of updates of the display.
    """

    def __init__(self, refreshes_per_second: float = 4) -> None:
        super().__init__()
        self._interval = 1 / refreshes_per_second
        self._next_refresh = 0.0
        self._enabled = True
        self._progress: Progress | None = None
        # Detached by Lightning; converted to a float only when displayed.
        self._outputs: Any = None
        self._streams: dict[logging.StreamHandler, Any] = {}

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
            BarColumn(bar_width=10),  # short enough for a line of 80 columns
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}"),
        )
        self._progress = Progress(*columns, auto_refresh=False)
        total = None if math.isinf(steps) else int(steps)
        self._task = self._progress.add_task("", total=total, rate="", metrics="")
        self._start = (trainer.global_step, time.monotonic())
        self._progress.start()
        self._redirect_messages()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._outputs = outputs
        if self._progress is not None and time.monotonic() >= self._next_refresh:
            self._refresh(trainer, self._progress)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._stop(trainer)

    def _redirect_messages(self) -> None:
        # Rich prints what goes to sys.stderr above the bar; Lightning's handlers have kept the stream of before.
        for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
            for handler in logging.getLogger(name).handlers:
                # One handler may be that of several loggers.
                is_new = handler not in self._streams
                if isinstance(handler, logging.StreamHandler) and is_new:
                    self._streams[handler] = handler.stream
                    handler.setStream(sys.stderr)

    def _refresh(self, trainer: Trainer, progress: Progress) -> None:
        time_of_refresh = time.monotonic()
        self._next_refresh = time_of_refresh + self._interval
        first_step, start_time = self._start
        seconds = max(time_of_refresh - start_time, 1e-9)
        rate = (trainer.global_step - first_step) / seconds
        # Callbacks may add entries by replacing `get_metrics`, such as HealthCheck its verdict.
        metrics = self.get_metrics(trainer, trainer.lightning_module)
        metrics.pop("v_num", None)
        if isinstance(self._outputs, dict) and "loss" in self._outputs:
            metrics = {"loss": self._outputs["loss"], **metrics}
        text = "  ".join(map(shown, metrics, metrics.values()))
        progress.update(
            self._task,
            completed=trainer.global_step,
            rate=f"{rate:.0f} steps/s",
            metrics=text,
        )
        progress.refresh()

    def _stop(self, trainer: Trainer) -> None:
        if self._progress is not None:
            self._refresh(trainer, self._progress)
            self._progress.stop()
            self._progress = self._outputs = None
            for handler, stream in self._streams.items():
                handler.setStream(stream)
            self._streams = {}


def shown(name: str, value: Any) -> str:
    """Returns an entry of the bar: a word as it is, a number with four decimals."""
    return f"{name} {value if isinstance(value, str) else format(float(value), '.4f')}"
