"""Commands that a run ends with: what to type next."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from makemore_lightning.last_checkpoint import LastCheckpoint
from makemore_lightning.parser import shell_command, without_option


def commands_after_fit(trainer: Trainer) -> list[str]:
    """Returns the commands that show what a run wrote, and sample from its best checkpoint."""
    loggers = [each for each in trainer.loggers if isinstance(each, TensorBoardLogger)]
    commands = [
        *(shell_command("report", str(logger.log_dir)) for logger in loggers),
        *(
            shlex.join(["tensorboard", "--logdir", str(logger.save_dir)])
            for logger in loggers
        ),
    ]
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    checkpoint = best or last_checkpoint_of(trainer)
    if checkpoint:
        commands.append(shell_command("predict", "--ckpt_path", str(checkpoint)))
    return commands


def command_to_go_on(trainer: Trainer, command_line: Sequence[str]) -> str | None:
    """Returns the command that resumes a run which was stopped; None if it has no checkpoint.

    Args:
        trainer: Trainer of the run.
        command_line: Arguments of the run.
    """
    path = last_checkpoint_of(trainer)
    if path is None:
        return None
    options = without_option(command_line, "--ckpt_path")
    return shell_command(*options, "--ckpt_path", str(path))


def last_checkpoint_of(trainer: Trainer) -> Path | None:
    """Returns the file of the callback `LastCheckpoint`; None if there is no such file or callback."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, LastCheckpoint):
            path = callback.path(trainer)
            return path if path.is_file() else None
    return None
