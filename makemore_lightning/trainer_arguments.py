"""Arguments of the Trainer: checks that Lightning leaves out, and the schedule of validations."""

from collections.abc import Callable
from typing import Any

from makemore_lightning.errors import InputError

Number = int | float


def _is_positive(number: Number) -> bool:
    return number > 0


def _is_not_negative(number: Number) -> bool:
    return number >= 0


def _is_positive_or_endless(number: Number) -> bool:
    return number > 0 or number == -1


RANGES: dict[str, tuple[Callable[[Number], bool], str]] = {
    "accumulate_grad_batches": (_is_positive, "1 or more"),
    "gradient_clip_val": (_is_not_negative, "0 or more"),
    "log_every_n_steps": (_is_not_negative, "0 or more"),
    "max_epochs": (_is_positive_or_endless, "1 or more, or -1 for no limit"),
    "max_steps": (_is_positive_or_endless, "1 or more, or -1 for no limit"),
    "val_check_interval": (_is_positive, "more than 0"),
}
"""Test and description of the values of each argument that Lightning accepts and then fails on or ignores."""


def check_trainer_arguments(trainer: Any) -> None:
    """Checks numbers.

    Args:
        trainer: The configured arguments of the Trainer.

    Raises:
        InputError: If a number is out of range.
    """
    for name, (is_in_range, expected) in RANGES.items():
        value = trainer[name]
        if isinstance(value, int | float) and not is_in_range(value):
            raise InputError(f"--trainer.{name} must be {expected}, got {value}")


def validation_arguments(interval: int | float | str | None) -> dict[str, Any]:
    """Completes the arguments of the Trainer for an interval between validations.

    Args:
        interval: `val_check_interval` of the Trainer; None = validations spread over the run, see `MakemoreModule`.

    Returns:
        Arguments that replace those of the config.
    """
    if interval is None:
        return {"val_check_interval": 1.0, "check_val_every_n_epoch": 1}
    if isinstance(interval, float):
        # A fraction of an epoch; the config counts steps across epochs.
        return {"check_val_every_n_epoch": 1}
    return {}
