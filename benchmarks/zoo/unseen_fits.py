"""LightningModules of the unseen trainings: schedulers, validation, callbacks and optimizers by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

from .fits import ByHand, Fit, MakeOptimizer, trainable
from .unseen_data import learned, validated


class Scheduled(Fit):
    """Supervised training with one of PyTorch's schedulers, and callbacks of its own.

    Args:
        *arguments: Arguments of `Fit`.
        scheduler: Builds the scheduler from the optimizer; None = a constant rate.
        interval: "step" or "epoch".
        callbacks: Callbacks that the module brings along.
    """

    def __init__(
        self,
        *arguments: Any,
        scheduler: Callable[[Optimizer], Any] | None = None,
        interval: str = "step",
        callbacks: Sequence[Callback] = (),
    ) -> None:
        super().__init__(*arguments)
        self.make_scheduler = scheduler
        self.interval = interval
        self.callbacks = callbacks

    def configure_callbacks(self) -> list[Callback]:
        return list(self.callbacks)

    def configure_optimizers(self) -> Any:
        optimizer = self.build_optimizer()
        if self.make_scheduler is None:
            return optimizer
        scheduler = {"scheduler": self.make_scheduler(optimizer)}
        scheduler |= {"interval": self.interval, "monitor": "val_loss"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        *inputs, targets = batch
        self.log("val_loss", self.loss(self(*inputs), targets), prog_bar=True)


class Validated(LightningDataModule):
    """DataLoaders of rows to learn and rows to validate on.

    Args:
        *tensors: Columns, such as inputs and targets.
        size: Rows of a batch.
    """

    def __init__(self, *tensors: Tensor, size: int = 64) -> None:
        super().__init__()
        self.tensors, self.size = tensors, size

    def train_dataloader(self) -> DataLoader[Any]:
        rows = TensorDataset(*learned(*self.tensors))
        return DataLoader(rows, self.size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(*validated(*self.tensors)), 2 * self.size)


class SharpnessAware(ByHand):
    """SAM: the gradient of a step is that at the worst point nearby."""

    radius = 0.05

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        optimizer: Any = self.optimizers()
        x, y = batch
        loss = self.loss(self(x), y)
        self.manual_backward(loss)
        steps = self.climb()
        optimizer.zero_grad()
        self.manual_backward(self.loss(self(x), y))
        for param, step in steps:
            param.data -= step
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    def climb(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Moves the parameters along the gradient, and returns the steps."""
        gradients = [(each, each.grad) for each in self.parameters()]
        norms = [grad.norm() for _, grad in gradients if grad is not None]
        scale = self.radius / torch.stack(norms).norm()
        steps = []
        for param, grad in gradients:
            if grad is not None:
                step = grad * scale
                param.data += step
                steps.append((param, step))
        return steps


class Lion(Optimizer):
    """Lion: steps by the sign of a mean of gradients.

    Args:
        params: Parameters.
        lr: Learning rate, a third to a tenth of Adam's.
        weight_decay: Weight decay.
    """

    def __init__(self, params: Any, lr: float, weight_decay: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self.move(param, param.grad, group)
        return loss

    def move(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        """Moves one parameter."""
        state = self.state[param]
        if not state:
            state["mean"] = torch.zeros_like(param)
        mean = state["mean"]
        param.mul_(1 - group["lr"] * group["weight_decay"])
        param.add_(mean.lerp(grad, 0.1).sign(), alpha=-group["lr"])
        mean.lerp_(grad, 0.01)


def lion(rate: float) -> MakeOptimizer:
    """Optimizer of all parameters by Lion."""
    return lambda module: Lion(trainable(module), rate)


def optimizer_of(kind: type[Optimizer], **options: Any) -> MakeOptimizer:
    """Optimizer of all parameters by a class of PyTorch."""
    return lambda module: kind(trainable(module), **options)


def decayed(rate: float, decay: float = 0.1) -> MakeOptimizer:
    """AdamW as for transformers: weights of matrices decay, the rest does not."""

    def make(module: LightningModule) -> Optimizer:
        params = trainable(module)
        matrices = [param for param in params if param.ndim >= 2]
        rest = [param for param in params if param.ndim < 2]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95))

    return make
