"""LightningModules of the zoo: a network, a loss and an optimizer, automatic and by hand."""

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Loss = Callable[[Any, Any], Tensor]
MakeOptimizer = Callable[[LightningModule], Optimizer]


def adam(rate: float = 1e-3, **options: Any) -> MakeOptimizer:
    """Optimizer of all parameters by Adam."""
    return lambda module: torch.optim.AdamW(trainable(module), lr=rate, **options)


def sgd(rate: float = 0.1, **options: Any) -> MakeOptimizer:
    """Optimizer of all parameters by SGD."""
    return lambda module: torch.optim.SGD(trainable(module), lr=rate, **options)


def trainable(module: nn.Module) -> list[nn.Parameter]:
    return [param for param in module.parameters() if param.requires_grad]


class Fit(LightningModule):
    """Supervised training by automatic optimization.

    Args:
        net: Network.
        loss: Function or module of the network's output and the targets.
        optimizer: Builds the optimizer from the module.
        schedule: Factor on the learning rate at a step; None = constant.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: Loss,
        optimizer: MakeOptimizer | None = None,
        schedule: Callable[[int], float] | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.loss = loss
        self.make_optimizer = optimizer or adam()
        self.schedule = schedule
        self.rate = 1.0
        self.breaks: list[Callable[[Optimizer], None]] = []

    def forward(self, *inputs: Any) -> Any:
        return self.net(*inputs)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        *inputs, targets = batch
        return self.loss(self(*inputs), targets)

    def build_optimizer(self) -> Optimizer:
        """Builds the optimizer, and lets operators break what they break there."""
        optimizer = self.make_optimizer(self)
        for group in optimizer.param_groups:
            group["lr"] *= self.rate
        for change in self.breaks:
            change(optimizer)
        return optimizer

    def configure_optimizers(self) -> Any:
        optimizer = self.build_optimizer()
        if self.schedule is None:
            return optimizer
        scheduler = LambdaLR(optimizer, self.schedule)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


class ByHand(Fit):
    """Supervised training by manual optimization.

    Attributes:
        zero_grad: "before" the backward pass as it should be, "late" between it and the step, or "never".
        accumulate: Number of batches whose gradients are summed for a step.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.automatic_optimization = False
        self.zero_grad_when = "before"
        self.accumulate = 1

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        optimizer: Any = self.optimizers()
        first = batch_idx % self.accumulate == 0
        if first and self.zero_grad_when == "before":
            optimizer.zero_grad()
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss / self.accumulate)
        if self.zero_grad_when == "late":
            optimizer.zero_grad(set_to_none=False)
        if (batch_idx + 1) % self.accumulate == 0:
            optimizer.step()
        return loss.detach()
