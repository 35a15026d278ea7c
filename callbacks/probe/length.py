"""Length of a fit: the step of its current batch and of its last one."""

import math

from .._lightning import Trainer


def step_of(trainer: Trainer) -> int:
    """Returns how many training batches have stepped so far, the x that `self.log` uses in the same batch.

    Lightning has no public name for it; `trainer.global_step` counts the steps of every optimizer.
    """
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def last_step(trainer: Trainer, automatic: bool, batches: int = 0) -> int | None:
    """Estimates the last step of a fit that runs to its end.

    Args:
        trainer: The Trainer, in training.
        automatic: Whether Lightning steps the optimizers.
        batches: Batches so far, in manual optimization.

    Returns:
        The step; None where the length is not known, as of a dataset without length.
    """
    steps = _steps(trainer) if automatic else _batches_by_hand(trainer, batches)
    return int(steps) - 1 if math.isfinite(steps) else None


def _steps(trainer: Trainer) -> float:
    try:
        return trainer.estimated_stepping_batches
    except Exception:  # raised where the accumulation changes from epoch to epoch
        return math.inf


def _batches_by_hand(trainer: Trainer, batches: int) -> float:
    """Estimates the number of batches from how many steps of optimizers, which `max_steps` counts, a batch takes."""
    limits = [math.inf]
    if (trainer.max_epochs or -1) > 0:
        limits.append(trainer.num_training_batches * (trainer.max_epochs or 0))
    if trainer.max_steps > 0 and trainer.global_step:
        limits.append(math.ceil(trainer.max_steps * batches / trainer.global_step))
    return min(limits)
