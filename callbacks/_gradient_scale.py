"""What gradients have been multiplied by when they come by, so that it can be taken away."""

from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer

from ._statistics import widened


class GradientScale:
    """Undoes the scaling of gradients, by the scaler of mixed precision and by the split of a batch over processes.

    Args:
        scaler: A `torch.amp.GradScaler`, or None.
        parts: How many processes have a part of the batch each.
        device: Where the run's gradients are.
    """

    def __init__(self, scaler: Any, parts: int, device: torch.device) -> None:
        self.scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self.parts, self.device = parts, device

    @classmethod
    def of(cls, trainer: Trainer) -> "GradientScale":
        """Returns that of a fit."""
        device = trainer.strategy.root_device
        sampled = getattr(trainer.strategy, "distributed_sampler_kwargs", None) or {}
        return cls(getattr(trainer.precision_plugin, "scaler", None), sampled.get("num_replicas", 1), device)

    @classmethod
    def none(cls) -> "GradientScale":
        """Returns that of gradients which nothing scales."""
        return cls(None, 1, torch.device("cpu"))

    def factor(self) -> Tensor | None:
        """`()` what a loss is multiplied by, float32, on the device of the run; None if there is no scaler."""
        # This asks the scaler to scale a one, which, unlike its `get_scale`, waits for no device.
        return None if self.scaler is None else self.scaler.scale(torch.ones((), device=self.device))

    def whole_batch(self, gradient: Tensor) -> Tensor:
        """Returns the gradient, for an activation, of the loss of the whole batch.

        In the backward pass it is scaled, and that of the mean over this process's part.
        """
        factor = self.factor()
        if factor is None and self.parts == 1:
            return gradient
        divisor = self.parts if factor is None else factor * self.parts
        return widened(gradient) / divisor

    def unscaled(self, gradient: Tensor, optimizer: Optimizer) -> Tensor:
        """Returns the gradient of a parameter, when its optimizer is about to step.

        By then Lightning has unscaled it, unless the optimizer does that itself, as fused ones do.
        """
        factor = self.factor()
        if factor is None or not getattr(optimizer, "_step_supports_amp_scaling", False):
            return gradient
        return (gradient if gradient.is_sparse else widened(gradient)) / factor
