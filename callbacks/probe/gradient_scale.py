"""Undoes loss scaling (GradScaler) and DDP averaging on observed gradients."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from .._lightning import Trainer
from ..measure.pieces import widened


class GradientScale:
    """Scale of the gradients of a fit.

    Args:
        scaler: `torch.amp.GradScaler` of the precision plugin, or None.
        ranks: Number of ranks that have a part of the batch each.
        device: Device of the run's gradients.
    """

    def __init__(self, scaler: Any, ranks: int, device: torch.device) -> None:
        self.scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self.ranks, self.device = ranks, device

    @classmethod
    def of(cls, trainer: Trainer) -> "GradientScale":
        """Returns the scale of a Trainer's fit."""
        sampled = getattr(trainer.strategy, "distributed_sampler_kwargs", None) or {}
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        return cls(scaler, sampled.get("num_replicas", 1), trainer.strategy.root_device)

    def factor(self) -> Tensor | None:
        """`()` factor of the loss, float32, on the run's device; None without a scaler."""
        # The scaler scales a one, which waits for no device, unlike its `get_scale`.
        return (
            None
            if self.scaler is None
            else self.scaler.scale(torch.ones((), device=self.device))
        )

    def unscaled_loss(self, loss: Tensor, micro_batches: int) -> Tensor:
        """Returns the loss of one micro-batch as `training_step` returned it."""
        factor = self.factor()
        loss = widened(loss.detach()) * micro_batches
        return loss if factor is None else loss / factor

    def unscaled_activation_grad(self, gradient: Tensor) -> Tensor:
        """Returns the gradient, for an activation, of the loss of the whole batch.

        In the backward pass the gradient is scaled, and that of the mean over this rank's part of the batch.
        """
        factor = self.factor()
        if factor is None and self.ranks == 1:
            return gradient
        return widened(gradient) / (
            self.ranks if factor is None else factor * self.ranks
        )

    def unscaled_weight_grad(self, gradient: Tensor, optimizer: Optimizer) -> Tensor:
        """Returns the gradient of a parameter whose optimizer is about to step.

        Lightning has unscaled it by then, unless the optimizer does that itself, as fused ones do.
        """
        unscales = getattr(optimizer, "_step_supports_amp_scaling", False)
        # The scaler sets it for the time of the step: None if the gradients are unscaled already, as for clipping.
        is_unscaled = getattr(optimizer, "grad_scale", self) is None
        if not unscales or is_unscaled or (factor := self.factor()) is None:
            return gradient
        return (gradient if gradient.is_sparse else widened(gradient)) / factor
