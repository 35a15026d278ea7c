"""Optimizer of the MLP, and the schedule of its learning rate."""

import logging
import sys
from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable, ReduceLROnPlateau
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from makemore_lightning.errors import InputError

log = logging.getLogger(__name__)


def build_optimizer(
    make: OptimizerCallable | None, params: Iterable[Parameter]
) -> Optimizer:
    """Returns the optimizer of some parameters; without a function that makes one, SGD with learning rate 0.1.

    Raises:
        InputError: If the function does not take them, or its own arguments.
    """
    if make is None:
        return torch.optim.SGD(params, lr=0.1)
    try:
        return make(params)
    except (ValueError, TypeError) as error:
        raise InputError(f"model.optimizer: {error}") from error


def drop_step(steps: float, fraction: float) -> int:
    """Returns the step after a fraction of a run.

    Args:
        steps: Steps of the run; infinite without `max_steps` and `max_epochs`.
        fraction: Above 0, at most 1.

    Example:
        >>> drop_step(200, 0.75), drop_step(1, 0.5)
        (150, 1)
    """
    return max(1, int(min(steps, sys.maxsize) * fraction))


def drop_schedule(optimizer: Optimizer, step: int) -> MultiStepLR:
    """Returns the schedule that lowers the learning rate to a tenth at a step."""
    return MultiStepLR(optimizer, milestones=[step], gamma=0.1)


def as_lightning_takes_it(scheduler: Any, interval: str) -> dict[str, Any]:
    """Returns a scheduler with its interval, "step" or "epoch", for `configure_optimizers`."""
    if isinstance(scheduler, ReduceLROnPlateau):
        # Monitors a validation metric, which is not available at every step.
        monitored = {"monitor": scheduler.monitor, "interval": "epoch"}
        return {"scheduler": scheduler, "strict": False, **monitored}
    return {"scheduler": scheduler, "interval": interval}


def warn_if_of_another_length(
    schedule: MultiStepLR, step: int, fraction: float
) -> None:
    """Warns if a schedule drops elsewhere than a run of this length would: after a resume it is the checkpoint's.

    Args:
        schedule: Schedule of the run.
        step: Step at which a run of this length drops the learning rate.
        fraction: Fraction of the run that `step` is.
    """
    milestones = sorted(schedule.milestones)
    if milestones != [step]:
        log.warning(
            "The checkpoint is of a run of another length: the learning rate drops at step %s, as there, and not "
            "at %s, after %g of this one.",
            ", ".join(map(str, milestones)),
            step,
            fraction,
        )
