"""Healthy trainings whose optimization is out of the ordinary."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from .data import Batches, digit_images, digits, spirals, waves
from .fits import ByHand, Fit, adam, sgd
from .models import model
from .networks import cnn, kaiming, mlp, vgg
from .sequence_networks import Recurrent
from .training import STEPS, Training


def warming(step: int) -> float:
    """Factor that rises from 0 over 100 steps."""
    return min(1.0, step / 100)


def cosine(step: int) -> float:
    """Factor that falls to 0 at the end of the training."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, step / STEPS)))


@model("optimization", hidden=2)
def warm_up() -> Training:
    module = Fit(mlp([64, 96, 96, 10], nn.GELU), F.cross_entropy, adam(3e-3), warming)
    return Training(module, Batches(*digits()))


@model("optimization")
def warm_up_cosine() -> Training:
    def factor(step: int) -> float:
        return warming(step) * cosine(step)

    return Training(
        Fit(vgg(), F.cross_entropy, adam(4e-3), factor),
        Batches(*digit_images(), size=48),
    )


@model("optimization", hidden=2)
def cosine_to_zero() -> Training:
    module = Fit(mlp([64, 96, 96, 10]), F.cross_entropy, adam(2e-3), cosine)
    return Training(module, Batches(*digits()))


@model("optimization")
def clipping_always() -> Training:
    module = Fit(Recurrent("LSTM"), F.cross_entropy, adam(5e-3))
    return Training(module, Batches(*waves(), size=32), {"gradient_clip_val": 0.05})


@model("optimization", hidden=3)
def clipping_sgd() -> Training:
    module = Fit(kaiming(mlp([2, 64, 64, 64, 3])), F.cross_entropy, sgd(1.0))
    return Training(module, Batches(*spirals()), {"gradient_clip_val": 0.1})


def decayed(module: LightningModule) -> Optimizer:
    """Optimizer with weight decay of weights and none of biases and norms."""
    groups: list[list[nn.Parameter]] = [[], []]
    for param in module.parameters():
        groups[param.ndim < 2].append(param)
    weights = {"params": groups[0], "weight_decay": 0.1}
    rest = {"params": groups[1], "weight_decay": 0.0}
    return torch.optim.AdamW([weights, rest], lr=2e-3)


@model("optimization")
def weight_decay_groups() -> Training:
    net = mlp([64, 96, 96, 10], nn.SiLU, nn.LayerNorm)
    return Training(Fit(net, F.cross_entropy, decayed), Batches(*digits()))


@model("optimization", hidden=2)
def accumulated() -> Training:
    module = Fit(mlp([64, 96, 96, 10]), F.cross_entropy, adam(4e-3))
    batches = Batches(*digits(), size=24)
    return Training(module, batches, {"accumulate_grad_batches": 4}, steps=800)


@model("optimization", hidden=2)
def accumulated_by_hand() -> Training:
    module = ByHand(mlp([64, 96, 96, 10], nn.Tanh), F.cross_entropy, adam(4e-3))
    module.accumulate = 2
    return Training(module, Batches(*digits(), size=32))


@model("optimization", hidden=2)
def by_hand() -> Training:
    module = ByHand(mlp([64, 96, 64, 10]), F.cross_entropy, sgd(0.1))
    return Training(module, Batches(*digits()))


@model("optimization", hidden=3)
def bf16_mixed() -> Training:
    module = Fit(cnn(), F.cross_entropy)
    batches = Batches(*digit_images(), size=32)
    return Training(module, batches, {"precision": "bf16-mixed"})


@model("optimization", hidden=2)
def momentum() -> Training:
    module = Fit(mlp([64, 96, 96, 10]), F.cross_entropy, sgd(0.02, momentum=0.9))
    return Training(module, Batches(*digits()))


class Measured(Fit):
    """Training with metrics inside, which see the logits and the loss."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        from torchmetrics import MeanMetric
        from torchmetrics.classification import MulticlassAccuracy

        self.accuracy = MulticlassAccuracy(10)
        self.mean_loss = MeanMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        logits = self(x)
        loss = self.loss(logits, y)
        self.mean_loss(loss)
        self.accuracy(logits, y)
        self.log("accuracy", self.accuracy)
        return loss


@model("optimization", hidden=2)
def torchmetrics_inside() -> Training:
    module = Measured(mlp([64, 96, 64, 10]), F.cross_entropy)
    return Training(module, Batches(*digits()))


def grouped_rates(module: LightningModule) -> Optimizer:
    """Optimizer whose first layers learn at a third of the rate."""
    first, *rest = module.net.children()  # type: ignore[union-attr,operator]
    return torch.optim.AdamW(
        [
            {"params": first.parameters(), "lr": 5e-4},
            {"params": [param for layer in rest for param in layer.parameters()]},
        ],
        lr=1.5e-3,
    )


@model("optimization", hidden=2)
def rate_by_layer() -> Training:
    module = Fit(mlp([64, 96, 96, 10], nn.ELU), F.cross_entropy, grouped_rates)
    return Training(module, Batches(*digits()))
