"""Unseen healthy trainings of tables, with the losses of statistics."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data import Batches, digits, table, wiggle
from .fits import Fit, adam, sgd
from .healthy_tables import squared
from .models import model
from .networks import mlp
from .training import Training
from .unseen_data import (
    counts,
    friedman,
    learned,
    moons,
    sales,
    topics,
    uneven_noise,
    unscaled,
)
from .unseen_fits import optimizer_of


@model("mlp", hidden=2)
def mlp_wide() -> Training:
    net = mlp([64, 1024, 512, 10])
    batches = Batches(*learned(*digits()))
    return Training(Fit(net, F.cross_entropy), batches, steps=200)


@model("mlp", hidden=3)
def mlp_pyramid() -> Training:
    net = mlp([64, 256, 128, 64, 10])
    module = Fit(net, F.cross_entropy, optimizer_of(torch.optim.Adam, lr=1e-3))
    return Training(module, Batches(*learned(*digits())))


@model("mlp", hidden=2)
def mlp_narrow() -> Training:
    net = mlp([4, 8, 4, 3], nn.Tanh)
    optimizer = optimizer_of(torch.optim.NAdam, lr=1e-2)
    module = Fit(net, F.cross_entropy, optimizer)
    return Training(module, Batches(*learned(*table("iris")), size=16))


@model("mlp", hidden=3)
def mlp_mish_moons() -> Training:
    net = mlp([2, 32, 32, 16, 2], nn.Mish)
    optimizer = optimizer_of(torch.optim.Adam, lr=5e-3, amsgrad=True)
    return Training(Fit(net, F.cross_entropy, optimizer), Batches(*learned(*moons())))


@model("mlp")
def mlp_dropout_half() -> Training:
    net = mlp([64, 256, 256, 10], dropout=0.5)
    module = Fit(net, F.cross_entropy, adam(1e-3, weight_decay=0.05))
    return Training(module, Batches(*learned(*digits())))


@model("mlp")
def selu_alpha_dropout() -> Training:
    net = nn.Sequential()
    for number, inputs in enumerate((30, 64, 64, 64), start=1):
        layer = nn.Linear(inputs, 64)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        nn.init.zeros_(layer.bias)
        net.add_module(f"fc{number}", layer)
        net.add_module(f"act{number}", nn.SELU())
        net.add_module(f"drop{number}", nn.AlphaDropout(0.1))
    net.add_module("head", nn.Linear(64, 2))
    module = Fit(net, F.cross_entropy, sgd(0.01, momentum=0.9))
    return Training(module, Batches(*learned(*table("breast_cancer")), size=32))


@model("table")
def batchnorm_on_raw_columns() -> Training:
    net = nn.Sequential()
    net.add_module("scale", nn.BatchNorm1d(13))
    net.add_module("mlp", mlp([13, 64, 32, 3]))
    module = Fit(net, F.cross_entropy, adam(3e-3))
    return Training(module, Batches(*learned(*unscaled("wine")), size=32))


class Units(nn.Module):
    """Network whose outputs are in the units of the targets.

    Args:
        net: Network of standardized numbers.
        targets: Targets in their units.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, targets: Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", targets.mean())
        self.register_buffer("std", targets.std())

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(-1) * self.std + self.mean


@model("table", head="net.net.head")
def targets_scaled_inside() -> Training:
    x, _ = table("diabetes")
    _, y = unscaled("diabetes")
    net = Units(mlp([10, 64, 64, 1]), y)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs / net.std, targets / net.std)

    return Training(Fit(net, loss), Batches(*learned(x, y), size=32))


def pinball(outputs: Tensor, targets: Tensor) -> Tensor:
    """Loss of the quantiles 0.1, 0.5 and 0.9."""
    levels = torch.tensor([0.1, 0.5, 0.9])
    errors = targets[:, None] - outputs
    return torch.maximum(levels * errors, (levels - 1) * errors).mean()


@model("table", hidden=2)
def regression_quantiles() -> Training:
    net = mlp([10, 64, 64, 3])
    module = Fit(net, pinball, adam(2e-3))
    return Training(module, Batches(*learned(*friedman())))


def gaussian(outputs: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of a normal distribution with a variance of each row."""
    mean, log_variance = outputs.unbind(1)
    return F.gaussian_nll_loss(mean, targets, log_variance.exp())


@model("table", hidden=2)
def regression_with_variance() -> Training:
    net = mlp([2, 64, 64, 2], nn.SiLU)
    module = Fit(net, gaussian, adam(3e-3))
    return Training(module, Batches(*learned(*uneven_noise())))


def poisson(outputs: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of counts."""
    return F.poisson_nll_loss(outputs.squeeze(-1), targets)


@model("table", hidden=2)
def regression_of_counts() -> Training:
    net = mlp([4, 64, 32, 1])
    module = Fit(net, poisson, optimizer_of(torch.optim.RMSprop, lr=2e-3))
    return Training(module, Batches(*learned(*counts())), steps=500)


def ordinal(outputs: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of whether the level is above each of four thresholds."""
    above = targets[:, None] > torch.arange(4)
    return F.binary_cross_entropy_with_logits(outputs, above.float())


@model("table", hidden=2)
def regression_ordinal() -> Training:
    x, y = wiggle()
    levels = torch.bucketize(y, torch.tensor([-1.0, -0.3, 0.3, 1.0]))
    net = mlp([4, 64, 64, 4], nn.GELU)
    return Training(Fit(net, ordinal, adam(3e-3)), Batches(*learned(x, levels)))


@model("table")
def multi_label() -> Training:
    x, y = learned(*topics())
    weight = (1 - y.mean(0)) / y.mean(0)
    loss = nn.BCEWithLogitsLoss(pos_weight=weight)
    optimizer = optimizer_of(torch.optim.Adagrad, lr=2e-2)
    return Training(Fit(mlp([20, 64, 64, 5]), loss, optimizer), Batches(x, y))


class Entities(nn.Module):
    """Embeddings of columns of categories beside columns of numbers."""

    def __init__(self) -> None:
        super().__init__()
        tables = [nn.Embedding(20, 6) for _ in range(3)]
        self.embeddings = nn.ModuleList(tables)
        self.mlp = mlp([22, 64, 32, 1])

    def forward(self, categories: Tensor, numbers: Tensor) -> Tensor:
        pairs = zip(self.embeddings, categories.unbind(1), strict=True)
        columns = [embedding(column) for embedding, column in pairs]
        return self.mlp(torch.cat([*columns, numbers], 1))


@model("table", head="net.mlp.head")
def entity_embeddings() -> Training:
    module = Fit(Entities(), squared, adam(3e-3))
    return Training(module, Batches(*learned(*sales())), steps=450)
