"""Unseen healthy trainings with Lightning's callbacks and validation, and PyTorch's schedulers."""

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import BaseFinetuning, StochasticWeightAveraging
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    ReduceLROnPlateau,
)

from .data import Batches, digits, spirals, table, wiggle
from .fits import Fit, adam, sgd
from .healthy_tables import squared
from .healthy_transfer import pretrained
from .models import model
from .networks import mlp
from .training import Training
from .unseen_data import Repeated, friedman, learned, moons
from .unseen_fits import Scheduled, SharpnessAware, Validated, lion, optimizer_of


@model("optimization")
def plateau_validated() -> Training:
    def scheduler(optimizer: Any) -> Any:
        return ReduceLROnPlateau(optimizer, factor=0.3, patience=1)

    options: Any = {"scheduler": scheduler, "interval": "epoch"}
    module = Scheduled(mlp([10, 64, 64, 1]), squared, adam(5e-3), **options)
    batches = Validated(*friedman())
    return Training(module, batches, steps=450, epochs=15)


@model("optimization")
def weights_averaged() -> Training:
    swa: Any = StochasticWeightAveraging(5e-4, swa_epoch_start=5, annealing_epochs=2)
    net = mlp([64, 96, 96, 10], nn.ReLU)
    module = Scheduled(net, F.cross_entropy, adam(2e-3), callbacks=[swa])
    return Training(module, Validated(*digits()), steps=220, epochs=10)


class Unfreezing(BaseFinetuning):
    """Trains the head alone for three epochs, and all layers from then on."""

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        net: Any = pl_module.net
        self.freeze([net.fc1, net.fc2])

    def finetune_function(
        self, pl_module: LightningModule, epoch: int, optimizer: Optimizer
    ) -> None:
        if epoch == 3:
            net: Any = pl_module.net
            self.unfreeze_and_add_param_group([net.fc1, net.fc2], optimizer, 5e-4)


@model("optimization")
def unfreezing_by_epoch() -> Training:
    net: Any = pretrained(mlp([64, 128, 64, 10]))
    net.head = nn.Linear(64, 10)
    module = Scheduled(net, F.cross_entropy, adam(2e-3), callbacks=[Unfreezing()])
    return Training(module, Validated(*digits()), steps=308, epochs=14)


@model("optimization")
def cyclic_rate() -> Training:
    def scheduler(optimizer: Any) -> Any:
        return CyclicLR(optimizer, 1e-2, 1e-1, 50)

    momentum = sgd(1e-2, momentum=0.9)
    net = mlp([64, 96, 96, 10], nn.LeakyReLU)
    module = Scheduled(net, F.cross_entropy, momentum, scheduler=scheduler)
    return Training(module, Batches(*learned(*digits())))


@model("optimization", hidden=3)
def warm_restarts() -> Training:
    def scheduler(optimizer: Any) -> Any:
        return CosineAnnealingWarmRestarts(optimizer, 60, 2, 1e-5)

    net = mlp([2, 64, 64, 64, 3], nn.SiLU)
    module = Scheduled(net, F.cross_entropy, adam(5e-3), scheduler=scheduler)
    return Training(module, Batches(*learned(*spirals())), steps=420)


@model("optimization", hidden=2)
def exponential_decay() -> Training:
    def scheduler(optimizer: Any) -> Any:
        return ExponentialLR(optimizer, 0.98)

    net = mlp([64, 128, 64, 10])
    module = Scheduled(net, F.cross_entropy, adam(3e-3), scheduler=scheduler)
    return Training(module, Batches(*learned(*digits())), steps=400)


@model("optimization")
def lbfgs() -> Training:
    options: Any = {"max_iter": 5, "line_search_fn": "strong_wolfe"}
    optimizer = optimizer_of(torch.optim.LBFGS, **options)
    net = mlp([4, 32, 32, 1], nn.Tanh)
    x, y = learned(*wiggle())
    return Training(Fit(net, squared, optimizer), Repeated(x[:600], y[:600]), steps=60)


@model("optimization")
def sharpness_aware() -> Training:
    module = SharpnessAware(mlp([64, 96, 64, 10]), F.cross_entropy, sgd(0.1))
    return Training(module, Batches(*learned(*digits())))


@model("optimization", hidden=2)
def signs_by_lion() -> Training:
    module = Fit(mlp([64, 128, 128, 10], nn.GELU), F.cross_entropy, lion(2e-4))
    return Training(module, Batches(*learned(*digits())))


@model("optimization")
def clipping_by_value() -> Training:
    module = Fit(mlp([13, 48, 48, 3], nn.ELU), F.cross_entropy, adam(3e-3))
    batches = Batches(*learned(*table("wine")), size=32)
    clipping = {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}
    return Training(module, batches, clipping, steps=300)


@model("optimization", hidden=2)
def converged_long_ago() -> Training:
    module = Fit(mlp([13, 64, 64, 3]), F.cross_entropy, adam(2e-3))
    return Training(module, Batches(*learned(*table("wine")), size=32), steps=600)


@model("optimization", hidden=2)
def overfitted_batch() -> Training:
    x, y = digits()
    module = Fit(mlp([64, 64, 64, 10], nn.SiLU), F.cross_entropy, adam(2e-3))
    return Training(module, Repeated(x[:32], y[:32]), steps=300)


@model("optimization")
def bf16_layernorm() -> Training:
    net = mlp([2, 64, 64, 2], nn.GELU, nn.LayerNorm)
    module = Fit(net, F.cross_entropy, adam(3e-3))
    batches = Batches(*learned(*moons()))
    return Training(module, batches, {"precision": "bf16-mixed"})


def slow_body(module: LightningModule) -> Optimizer:
    """Optimizer whose body learns at a hundredth of the rate of the head."""
    net: Any = module.net
    body = [*net.fc1.parameters(), *net.fc2.parameters()]
    return torch.optim.AdamW(
        [{"params": body, "lr": 3e-5}, {"params": net.head.parameters()}], lr=3e-3
    )


@model("optimization")
def fine_tuning_slow_body() -> Training:
    net: Any = pretrained(mlp([64, 128, 64, 10]), steps=150, classes=8)
    net.head = nn.Linear(64, 10)
    module = Fit(net, F.cross_entropy, slow_body)
    return Training(module, Batches(*learned(*digits())))


class Physics(Fit):
    """PINN: the network solves u'' = -u with u(0) = 0 and u'(0) = 1."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        time = (4 * torch.rand(64, 1) - 2).requires_grad_()
        values = self(time)
        slope = self.derivative(values, time)
        residual = self.derivative(slope, time) + values
        start = torch.zeros(1, 1, requires_grad=True)
        value = self(start)
        bounds = value.square() + (self.derivative(value, start) - 1).square()
        return residual.square().mean() + bounds.mean()

    @staticmethod
    def derivative(values: Tensor, time: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(values.sum(), time, create_graph=True)
        return slope


@model("optimization")
def physics_informed() -> Training:
    module = Physics(mlp([1, 32, 32, 1], nn.Tanh), F.mse_loss, adam(5e-3))
    return Training(module, Repeated(torch.zeros(1)), steps=600)
