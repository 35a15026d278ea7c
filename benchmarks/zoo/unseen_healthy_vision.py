"""Unseen healthy trainings of images, and of pictures as functions of positions."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data import Batches, digit_images, discs
from .fits import Fit, adam
from .models import model
from .networks import mlp, unet
from .training import STEPS, Training
from .unseen_data import learned, picture
from .unseen_fits import Scheduled, decayed, optimizer_of
from .unseen_image_networks import Mixer, UNet, ViT, groupnorm_cnn, mobilenet


def images() -> Batches:
    return Batches(*learned(*digit_images()), size=48)


def warm_cosine(step: int) -> float:
    """Factor that rises for 40 steps and falls to a tenth at the end."""
    falling = 0.55 + 0.45 * math.cos(math.pi * min(1.0, step / STEPS))
    return min(1.0, (step + 1) / 40) * falling


@model("vision")
def cnn_groupnorm() -> Training:
    def scheduler(optimizer: Any) -> Any:
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, STEPS)

    nesterov = optimizer_of(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True)
    module = Scheduled(groupnorm_cnn(), F.cross_entropy, nesterov, scheduler=scheduler)
    return Training(module, images())


@model("vision")
def mobilenet_v2() -> Training:
    optimizer = optimizer_of(torch.optim.RMSprop, lr=1e-3, momentum=0.9)
    return Training(Fit(mobilenet(), F.cross_entropy, optimizer), images())


@model("vision")
def vision_transformer() -> Training:
    smooth = nn.CrossEntropyLoss(label_smoothing=0.1)
    module = Fit(ViT(), smooth, decayed(5e-3, 0.05), warm_cosine)
    return Training(module, images(), {"gradient_clip_val": 1.0})


class Mixup(Fit):
    """Training on mixtures of two images, with the mixture of both losses."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        weight = float(torch.distributions.Beta(0.2, 0.2).sample())
        order = torch.randperm(len(x))
        outputs = self(weight * x + (1 - weight) * x[order])
        first, second = self.loss(outputs, y), self.loss(outputs, y[order])
        return weight * first + (1 - weight) * second


@model("vision")
def mixer_mixup() -> Training:
    return Training(Mixup(Mixer(), F.cross_entropy, adam(3e-3)), images())


class Denoising(Fit):
    """Training to remove the noise of images."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        clean, _ = batch
        return self.loss(self(clean + 0.7 * torch.randn_like(clean)), clean)


@model("vision")
def denoising_unet() -> Training:
    module = Denoising(UNet(), F.mse_loss, adam(2e-3))
    batches = Batches(*learned(*digit_images()), size=32)
    return Training(module, batches, steps=200)


def focal(logits: Tensor, targets: Tensor) -> Tensor:
    """Focal loss, a sum over pixels by the number of positive ones, as detectors have it."""
    signs = torch.where(targets == 1, 1.0, -1.0)
    margin = logits.squeeze(1) * signs
    losses = torch.sigmoid(-margin).square() * F.softplus(-margin)
    weights = torch.where(targets == 1, 0.75, 0.25)
    return (weights * losses).sum() / (targets == 1).sum().clamp(min=1)


@model("vision")
def focal_loss_with_prior() -> Training:
    net: Any = unet()
    net.head = nn.Conv2d(16, 1, 1)
    # The prior of RetinaNet: a positive pixel has a probability of 0.05.
    head: Any = net.head
    nn.init.constant_(head.bias, -math.log(0.95 / 0.05))
    module = Fit(net, focal, adam(3e-3))
    return Training(module, Batches(*learned(*discs()), size=16))


class Sine(nn.Module):
    """Sine of 30 times the input."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * x)


@model("vision")
def siren() -> Training:
    net = mlp([2, 64, 64, 64, 1], Sine)
    with torch.no_grad():
        for name, layer in net.named_children():
            if isinstance(layer, nn.Linear):
                bound = math.sqrt(6 / layer.in_features) / 30
                layer.weight.uniform_(-1, 1).mul_(0.5 if name == "fc1" else bound)
    module = Fit(net, F.mse_loss, adam(5e-4))
    return Training(module, Batches(*picture(), size=256), steps=500)


class Fourier(nn.Module):
    """Sines and cosines of the positions at random frequencies, which are not trained."""

    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", 4 * torch.randn(2, 32))

    def forward(self, positions: Tensor) -> Tensor:
        angles = positions @ self.frequencies
        return torch.cat([angles.sin(), angles.cos()], 1)


@model("vision")
def fourier_features() -> Training:
    net = nn.Sequential()
    net.add_module("features", Fourier())
    net.add_module("mlp", mlp([64, 64, 64, 64, 1]))
    net.add_module("out", nn.Sigmoid())
    module = Fit(net, F.mse_loss, adam(1e-3))
    return Training(module, Batches(*picture(), size=256))
