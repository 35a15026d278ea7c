"""Unseen healthy trainings of sets and graphs, and of a mixture of densities."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data import Batches
from .fits import Fit, adam
from .healthy_tables import squared
from .models import model
from .networks import mlp
from .training import Training
from .unseen_data import Repeated, communities, learned, point_sets


class DeepSets(nn.Module):
    """The maximum over points of an MLP, before another MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.points = mlp([3, 64, 64], nn.ELU)
        self.sets = mlp([64, 64, 1], nn.ELU)

    def forward(self, points: Tensor) -> Tensor:
        return self.sets(self.points(points).amax(1))


@model("transfer", head="net.sets.head")
def deep_sets() -> Training:
    module = Fit(DeepSets(), squared, adam(3e-3))
    return Training(module, Batches(*learned(*point_sets())), steps=450)


class GCN(nn.Module):
    """Graph convolutions of two layers with dropout, as Kipf and Welling have them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.head = nn.Linear(16, 32), nn.Linear(32, 4)
        self.act1, self.drop = nn.ReLU(), nn.Dropout(0.5)

    def forward(self, features: Tensor, adjacency: Tensor) -> Tensor:
        h = self.act1(adjacency @ self.fc1(features))
        return adjacency @ self.head(self.drop(h))


@model("transfer", hidden=1)
def graph_convolutions() -> Training:
    def labelled(logits: Tensor, classes: Tensor) -> Tensor:
        return F.cross_entropy(logits[:60], classes[:60])

    module = Fit(GCN(), labelled, adam(1e-2, weight_decay=5e-3))
    return Training(module, Repeated(*communities()), steps=200)


def mixture(outputs: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of a mixture of normal distributions."""
    logits, means, log_stds = outputs.chunk(3, 1)
    normals = torch.distributions.Normal(means, log_stds.exp())
    densities = normals.log_prob(targets[:, None]) + logits.log_softmax(1)
    return -densities.logsumexp(1).mean()


@model("generative", hidden=2)
def mixture_density() -> Training:
    generator = torch.Generator().manual_seed(17)
    targets = 2 * torch.rand(3000, generator=generator) - 1
    noise = 0.05 * torch.randn(3000, generator=generator)
    x = targets + 0.35 * torch.sin(6.28 * targets) + noise
    net = mlp([1, 48, 48, 15], nn.Tanh)
    module = Fit(net, mixture, adam(3e-3))
    x = ((x - x.mean()) / x.std())[:, None]
    return Training(module, Batches(*learned(x, targets), size=128), steps=500)
