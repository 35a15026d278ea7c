"""Healthy trainings of MLPs and tables."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data import Batches, digits, spirals, table, wiggle
from .fits import Fit, adam, sgd
from .models import model
from .networks import ResidualMLP, kaiming, mlp
from .training import Training


@model("mlp", hidden=2)
def mlp_relu() -> Training:
    net = mlp([64, 128, 64, 10])
    return Training(Fit(net, F.cross_entropy), Batches(*digits()))


@model("mlp", hidden=2)
def mlp_tanh() -> Training:
    net = mlp([64, 100, 100, 10], nn.Tanh)
    return Training(Fit(net, nn.CrossEntropyLoss(), sgd(0.1)), Batches(*digits()))


@model("mlp", hidden=3)
def mlp_tanh_spirals() -> Training:
    net = mlp([2, 64, 64, 64, 3], nn.Tanh)
    return Training(Fit(net, F.cross_entropy, adam(3e-3)), Batches(*spirals()))


@model("mlp")
def mlp_gelu_layernorm() -> Training:
    net = mlp([64, 96, 96, 10], nn.GELU, nn.LayerNorm)
    return Training(Fit(net, F.cross_entropy), Batches(*digits()))


@model("mlp", hidden=4)
def mlp_kaiming() -> Training:
    net = kaiming(mlp([64, 96, 96, 96, 96, 10]))
    return Training(Fit(net, F.cross_entropy, adam(1e-3)), Batches(*digits()))


@model("mlp", hidden=3)
def mlp_relu_spirals() -> Training:
    net = kaiming(mlp([2, 64, 64, 64, 3]))
    return Training(Fit(net, F.cross_entropy, adam(2e-3)), Batches(*spirals()))


@model("mlp", hidden=2)
def mlp_leaky() -> Training:
    net = mlp([64, 100, 100, 10], nn.LeakyReLU)
    optimizer = sgd(0.05, momentum=0.9)
    return Training(Fit(net, F.cross_entropy, optimizer), Batches(*digits()))


@model("mlp", hidden=2)
def mlp_elu() -> Training:
    net = mlp([13, 64, 64, 3], nn.ELU)
    return Training(Fit(net, F.cross_entropy), Batches(*table("wine"), size=32))


@model("mlp", hidden=1)
def mlp_sigmoid() -> Training:
    net = mlp([64, 100, 10], nn.Sigmoid)
    return Training(Fit(net, F.cross_entropy, adam(3e-3)), Batches(*digits()))


@model("mlp", hidden=1)
def mlp_sigmoid_wine() -> Training:
    net = mlp([13, 48, 3], nn.Sigmoid)
    loss = nn.CrossEntropyLoss()
    return Training(Fit(net, loss, adam(5e-3)), Batches(*table("wine"), size=32))


@model("deep", hidden=8)
def deep_relu() -> Training:
    net = kaiming(mlp([64, *[64] * 8, 10]))
    return Training(Fit(net, F.cross_entropy, sgd(0.03)), Batches(*digits()))


@model("deep", hidden=6)
def deep_tanh() -> Training:
    net = kaiming(mlp([64, *[64] * 6, 10], nn.Tanh), "tanh")
    return Training(Fit(net, F.cross_entropy, sgd(0.05)), Batches(*digits()))


@model("deep")
def residual_relu() -> Training:
    net = ResidualMLP(64, 10)
    return Training(Fit(net, F.cross_entropy), Batches(*digits()))


@model("deep")
def residual_gelu() -> Training:
    net = ResidualMLP(2, 3, 6, nn.GELU)
    return Training(Fit(net, F.cross_entropy, adam(2e-3)), Batches(*spirals()))


@model("mlp")
def mlp_batchnorm() -> Training:
    net = mlp([64, 96, 96, 10], nn.ReLU, nn.BatchNorm1d)
    return Training(Fit(net, F.cross_entropy, sgd(0.1)), Batches(*digits()))


@model("mlp")
def mlp_dropout() -> Training:
    net = mlp([64, 128, 128, 10], nn.ReLU, dropout=0.3)
    return Training(Fit(net, F.cross_entropy), Batches(*digits()))


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of a single output."""
    return F.mse_loss(outputs.squeeze(-1), targets)


@model("table", hidden=2)
def regression_diabetes() -> Training:
    net = mlp([10, 64, 64, 1])
    return Training(Fit(net, squared), Batches(*table("diabetes"), size=32))


@model("table", hidden=2)
def regression_wiggle() -> Training:
    net = mlp([4, 64, 64, 1], nn.SiLU)
    return Training(Fit(net, squared, adam(2e-3)), Batches(*wiggle()))


def binary(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of logits."""
    return F.binary_cross_entropy_with_logits(logits.squeeze(-1), targets.float())


@model("table", hidden=2)
def binary_cancer() -> Training:
    net = mlp([30, 64, 64, 1])
    return Training(Fit(net, binary), Batches(*table("breast_cancer"), size=32))


@model("table", hidden=2)
def imbalanced_bce() -> Training:
    x, y = digits()
    net = mlp([64, 64, 64, 1], nn.ReLU)
    rare = (y == 8) & (torch.arange(len(y)) % 2 == 0)
    return Training(Fit(net, binary), Batches(x, rare, size=96))


@model("table", hidden=2)
def class_weights() -> Training:
    weight = torch.linspace(0.3, 3, 10)
    net = mlp([64, 96, 96, 10])
    loss = nn.CrossEntropyLoss(weight=weight)
    return Training(Fit(net, loss), Batches(*digits()))


@model("table", hidden=2)
def label_smoothing() -> Training:
    net = mlp([64, 96, 96, 10], nn.GELU)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    return Training(Fit(net, loss), Batches(*digits()))


class TwoHeads(nn.Module):
    """Two tasks on one trunk: the digit, and the mean of its pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = mlp([64, 96, 64])
        self.act = nn.ReLU()
        self.digit, self.mean = nn.Linear(64, 10), nn.Linear(64, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.act(self.trunk(x))
        return self.digit(h), self.mean(h)


@model("table", head="")
def multi_task() -> Training:
    x, y = digits()

    def loss(outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
        digit, mean = outputs
        brightness = squared(mean, targets[:, 1] * 5)
        return F.cross_entropy(digit, targets[:, 0].long()) + brightness

    both = torch.stack([y.float(), x.mean(1)], 1)
    return Training(Fit(TwoHeads(), loss), Batches(x, both))
