"""Tests of StepProgress, on a terminal of 80 columns."""

import functools
import io
import logging
import re
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from lightning.pytorch import Callback, Trainer
from rich.console import Console

from makemore_lightning import MakemoreModule, NamesDataModule, progress
from makemore_lightning.progress import StepProgress


def terminal_output(
    names: Path, *callbacks: Callback, bar: StepProgress | None = None, **arguments: Any
) -> str:
    """Runs a short fit and returns the text on the terminal, without escape sequences."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    progress_on_console = functools.partial(progress.Progress, console=console)
    with mock.patch.object(progress, "Progress", progress_on_console):
        trainer = Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=[bar or StepProgress(), *callbacks],
            **arguments,
        )
        trainer.fit(MakemoreModule(), NamesDataModule(str(names)))
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())


def test_ends_with_all_steps_and_both_losses(few_names: Path) -> None:
    last_line = terminal_output(few_names, max_steps=30).strip().splitlines()[-1]
    assert re.search(
        r"Step 30/30 .* \d+ steps/s .*loss \d\.\d{4}  val_loss \d\.\d{4}", last_line
    )


def test_the_last_loss_is_that_of_the_last_step(few_names: Path) -> None:
    class LastLoss(Callback):
        value = 0.0

        def on_train_batch_end(
            self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any, **__: Any
        ) -> None:
            self.value = float(outputs["loss"])

    last_loss, bar = LastLoss(), StepProgress(refreshes_per_second=0.001)
    output = terminal_output(few_names, last_loss, bar=bar, max_steps=30)
    assert f" loss {last_loss.value:.4f} " in output.strip().splitlines()[-1]


def test_messages_have_lines_of_their_own(few_names: Path) -> None:
    logger = logging.getLogger("lightning.pytorch")
    level, streams = logger.level, streams_of(logger)
    logger.setLevel(logging.INFO)
    try:
        lines = terminal_output(few_names, max_steps=30).splitlines()
    finally:
        logger.setLevel(level)
    (message,) = [line for line in lines if "`Trainer.fit` stopped" in line]
    assert "Step" not in message
    assert streams_of(logger) == streams


def streams_of(logger: logging.Logger) -> list[Any]:
    return [getattr(handler, "stream", None) for handler in logger.handlers]


def test_a_handler_of_two_loggers_gets_its_stream_back(few_names: Path) -> None:
    handler, stream = logging.StreamHandler(), io.StringIO()
    handler.setStream(stream)
    loggers = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        terminal_output(few_names, max_steps=3)
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    assert handler.stream is stream


def test_a_long_run_fits_80_columns(few_names: Path) -> None:
    class StopAt30(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
            trainer.should_stop = trainer.global_step == 30

    assert "…" not in terminal_output(few_names, StopAt30(), max_steps=200_000)


def test_counts_epochs_in_steps(few_names: Path) -> None:
    assert "22/22" in terminal_output(few_names, max_epochs=2)


def test_refreshes_by_time_and_not_at_every_batch(few_names: Path) -> None:
    bar = StepProgress(refreshes_per_second=0.001)
    with mock.patch.object(bar, "_refresh", wraps=bar._refresh) as refresh:
        terminal_output(few_names, bar=bar, max_steps=30)
    assert refresh.call_count == 2


def test_display_stops_when_training_fails(few_names: Path) -> None:
    class Fail(Callback):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("no")

    bar = StepProgress()
    with pytest.raises(RuntimeError, match="no"):
        terminal_output(few_names, Fail(), bar=bar, max_steps=30)
    assert bar._progress is None


def test_can_be_disabled(few_names: Path) -> None:
    bar = StepProgress()
    bar.disable()
    assert "Step" not in terminal_output(few_names, bar=bar, max_steps=3)
