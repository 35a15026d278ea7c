"""Healthy trainings with a frozen base, adapters, copies and shared parameters."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data import Batches, digit_images, digits
from .fits import Fit, adam, sgd
from .models import model
from .networks import mlp, resnet
from .training import Training


def pretrained(
    net: nn.Module, images: bool = False, steps: int = 80, classes: int = 5
) -> nn.Module:
    """Trains a network for a moment on the digits of the first classes."""
    x, y = digit_images() if images else digits()
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    rows = (y < classes).nonzero().squeeze(1)
    for _ in range(steps):
        chosen = rows[torch.randint(len(rows), (64,))]
        optimizer.zero_grad()
        F.cross_entropy(net(x[chosen]), y[chosen]).backward()
        optimizer.step()
    return net


@model("transfer")
def frozen_base() -> Training:
    net = pretrained(mlp([64, 128, 64, 10]))
    net.requires_grad_(False)
    net.head = nn.Linear(64, 10)
    return Training(Fit(net, F.cross_entropy, adam(3e-3)), Batches(*digits()))


@model("transfer")
def frozen_batchnorm() -> Training:
    net = pretrained(resnet(), images=True, steps=60)
    net.requires_grad_(False)
    net.eval()
    net.head = nn.Linear(24, 10)
    module = Fit(net, F.cross_entropy, adam(3e-2))
    return Training(module, Batches(*digit_images(), size=48))


class LoRA(nn.Module):
    """Frozen linear layer with a trained update of low rank, which begins at zero."""

    def __init__(self, base: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.base = base
        self.base.requires_grad_(False)
        self.a = nn.Linear(base.in_features, rank, bias=False)
        self.b = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.b(self.a(x))


@model("transfer", head="net.head")
def lora() -> Training:
    net: Any = pretrained(mlp([64, 128, 64, 10]), steps=25, classes=10)
    net.fc1, net.fc2 = LoRA(net.fc1), LoRA(net.fc2)
    return Training(Fit(net, F.cross_entropy, adam(5e-3)), Batches(*digits()))


@model("transfer", hidden=2)
def fine_tuning_all() -> Training:
    net: Any = pretrained(mlp([64, 128, 64, 10]))
    net.head = nn.Linear(64, 10)
    return Training(Fit(net, F.cross_entropy, adam(3e-4)), Batches(*digits()))


class Averaged(Fit):
    """Training with a moving average of its weights as a second model inside."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.average = copy.deepcopy(self.net).requires_grad_(False)

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        pairs = zip(self.average.parameters(), self.net.parameters(), strict=True)
        for average, param in pairs:
            average.data.lerp_(param.data, 0.01)


@model("transfer", hidden=2)
def moving_average() -> Training:
    net = mlp([64, 96, 64, 10], nn.SiLU)
    return Training(Averaged(net, F.cross_entropy), Batches(*digits()))


class Shared(nn.Module):
    """One layer that is applied three times."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(64, 96)
        self.fc1 = nn.Linear(96, 96)
        self.act1 = nn.Tanh()
        self.head = nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.embed(x))
        for _ in range(3):
            h = self.act1(self.fc1(h))
        return self.head(h)


@model("transfer", hidden=1)
def shared_layer() -> Training:
    return Training(Fit(Shared(), F.cross_entropy, sgd(0.1)), Batches(*digits()))


def contrast(vectors: Tensor, views: Tensor) -> Tensor:
    """InfoNCE of two views, which the batch holds one after the other."""
    first, second = F.normalize(vectors, dim=1).chunk(2)
    return F.cross_entropy(first @ second.T / 0.2, torch.arange(len(first)))


class Siamese(Fit):
    """Contrastive training of noisy views of the same image."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch
        views = torch.cat([images, images]) + 0.3 * torch.randn(2 * len(images), 64)
        return self.loss(self(views), labels)


@model("transfer", hidden=2)
def contrastive() -> Training:
    module = Siamese(mlp([64, 96, 96, 32]), contrast, adam(2e-3))
    return Training(module, Batches(*digits(), size=48))
