"""Unseen healthy trainings of representations, sets, graphs, experts and students."""

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data import Batches, digits
from .fits import Fit, adam, sgd
from .healthy_transfer import pretrained
from .models import model
from .networks import mlp
from .training import Training
from .unseen_data import learned, triplets


def noisy(x: Tensor) -> Tensor:
    """View of images: noise, and a tenth of the pixels gone."""
    return (x + 0.3 * torch.randn_like(x)) * (torch.rand_like(x) > 0.1)


class BYOL(Fit):
    """Bootstrap your own latent: predicts what a slow copy makes of another view."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.teacher = copy.deepcopy(self.net).requires_grad_(False)
        self.predictor = mlp([32, 64, 32], norm=nn.BatchNorm1d)

    def compare(self, view: Tensor, another: Tensor) -> Tensor:
        prediction = self.predictor(self(view))
        with torch.no_grad():
            target = self.teacher(another)
        return -F.cosine_similarity(prediction, target).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, _ = batch
        first, second = noisy(x), noisy(x)
        return self.compare(first, second) + self.compare(second, first)

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        pairs = zip(self.teacher.parameters(), self.net.parameters(), strict=True)
        for slow, param in pairs:
            slow.data.lerp_(param.data, 0.02)


@model("transfer")
def byol() -> Training:
    net = mlp([64, 96, 96, 32], norm=nn.BatchNorm1d)
    module = BYOL(net, F.mse_loss, adam(2e-3))
    return Training(module, Batches(*learned(*digits()), size=96), steps=250)


class BarlowTwins(Fit):
    """Makes the correlations of two views an identity matrix."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, _ = batch
        first, second = (self.norm(self(noisy(x))) for _ in range(2))
        correlations = first.T @ second / len(x)
        diagonal = (1 - correlations.diagonal()).square().sum()
        rest = correlations - torch.diag(correlations.diagonal())
        return diagonal + 0.02 * rest.square().sum()

    @staticmethod
    def norm(z: Tensor) -> Tensor:
        return (z - z.mean(0)) / (z.std(0) + 1e-5)


@model("transfer")
def barlow_twins() -> Training:
    net = mlp([64, 128, 128, 32], norm=nn.BatchNorm1d)
    module = BarlowTwins(net, F.mse_loss, adam(1e-3))
    return Training(module, Batches(*learned(*digits()), size=96), steps=500)


class Triplets(Fit):
    """Training to put two digits of a class closer than a digit of another."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        vectors = self(torch.cat(batch))
        return F.triplet_margin_loss(*vectors.chunk(3), margin=0.5)


@model("transfer")
def triplet_margin() -> Training:
    net = mlp([64, 96, 96, 16])
    net.add_module("norm", Normalized())
    return Training(Triplets(net, F.mse_loss, adam(1e-3)), Batches(*triplets()))


class Normalized(nn.Module):
    """Vectors of length 1."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)


class Towers(nn.Module):
    """Two towers as in CLIP, with a temperature that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.upper, self.lower = mlp([32, 96, 24], nn.GELU), mlp([32, 96, 24], nn.GELU)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, images: Tensor) -> Tensor:
        upper, lower = images.chunk(2, 1)
        first = F.normalize(self.upper(upper), dim=1)
        second = F.normalize(self.lower(lower), dim=1)
        return self.scale.exp().clamp(max=100) * first @ second.T


def matching(logits: Tensor, _: Tensor) -> Tensor:
    """Cross entropy of the matching pairs, both ways."""
    pairs = torch.arange(len(logits))
    return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2


@model("transfer", head="")
def two_towers() -> Training:
    module = Fit(Towers(), matching, adam(2e-3))
    return Training(module, Batches(*learned(*digits()), size=48))


class CosFace(nn.Module):
    """Cosines of features and class vectors, times 16."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = mlp([64, 96, 96, 32], nn.PReLU)
        self.classes = nn.Parameter(torch.randn(10, 32))

    def forward(self, x: Tensor) -> Tensor:
        features = F.normalize(self.mlp(x), dim=1)
        return 16 * features @ F.normalize(self.classes, dim=1).T


def with_margin(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy with a margin on the cosine of the right class."""
    return F.cross_entropy(logits - 16 * 0.2 * F.one_hot(targets, 10), targets)


@model("transfer", head="")
def cosine_margin() -> Training:
    module = Fit(CosFace(), with_margin, sgd(0.05, momentum=0.9, weight_decay=5e-4))
    return Training(module, Batches(*learned(*digits())))


class Student(Fit):
    """Training to match the soft classes of a teacher, which is frozen."""

    def __init__(self, teacher: nn.Module, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.teacher = teacher.eval().requires_grad_(False)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        outputs = self(x)
        wanted = (self.teacher(x) / 3).log_softmax(1)
        soft = F.kl_div(
            (outputs / 3).log_softmax(1), wanted, reduction="batchmean", log_target=True
        )
        return 9 * soft + 0.3 * self.loss(outputs, y)


@model("transfer")
def distillation() -> Training:
    teacher = pretrained(mlp([64, 256, 128, 10]), steps=250, classes=10)
    module = Student(teacher, mlp([64, 32, 10]), F.cross_entropy, adam(3e-3))
    return Training(module, Batches(*learned(*digits())))
