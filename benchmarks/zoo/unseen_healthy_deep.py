"""Unseen healthy trainings of deep networks and of experts."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data import Batches, digits
from .fits import Fit, adam
from .models import model
from .networks import mlp
from .training import Training
from .unseen_data import learned


class ReZero(nn.Module):
    """Residual layers whose branches have a factor that begins at zero.

    Args:
        depth: Number of layers.
        width: Units of a layer.
    """

    def __init__(self, depth: int = 30, width: int = 48) -> None:
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.factors = nn.Parameter(torch.zeros(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for layer, factor in zip(self.layers, self.factors, strict=True):
            h = h + factor * F.relu(layer(h))
        return self.head(h)


@model("deep")
def rezero_30() -> Training:
    module = Fit(ReZero(), F.cross_entropy, adam(2e-3))
    return Training(module, Batches(*learned(*digits())), steps=250)


class Highway(nn.Module):
    """Highway network: sigmoid gates that let the input pass at first."""

    def __init__(self, depth: int = 10, width: int = 48) -> None:
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.gates = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.act, self.sigmoid = nn.Tanh(), nn.Sigmoid()
        self.head = nn.Linear(width, 10)
        for gate in self.gates:
            nn.init.constant_(gate.bias, -2.0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for layer, gate in zip(self.layers, self.gates, strict=True):
            opening = self.sigmoid(gate(h))
            h = opening * self.act(layer(h)) + (1 - opening) * h
        return self.head(h)


@model("deep")
def highway() -> Training:
    module = Fit(Highway(), F.cross_entropy, adam(2e-3))
    return Training(module, Batches(*learned(*digits())), steps=250)


class Experts(nn.Module):
    """Four experts, of which a gate takes two for each row, and the imbalance of the gate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(64, 48)
        self.gate = nn.Linear(48, 4, bias=False)
        self.experts = nn.ModuleList(mlp([48, 64, 48]) for _ in range(4))
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu(self.stem(x))
        chances = self.gate(h).softmax(1)
        best, chosen = chances.topk(2, 1)
        weights = torch.zeros_like(chances).scatter(1, chosen, best)
        weights = weights / weights.sum(1, keepdim=True)
        outputs = torch.stack([expert(h) for expert in self.experts], 1)
        mixed = (weights[:, :, None] * outputs).sum(1)
        used = (weights > 0).float().mean(0)
        return self.head(h + mixed), 4 * (used * chances.mean(0)).sum()


def balanced(outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    """Cross entropy and a hundredth of the imbalance."""
    logits, imbalance = outputs
    return F.cross_entropy(logits, targets) + 0.01 * imbalance


@model("deep")
def mixture_of_experts() -> Training:
    module = Fit(Experts(), balanced, adam(2e-3))
    return Training(module, Batches(*learned(*digits())), steps=300)


class TwoTasks(nn.Module):
    """A trunk with a head for the digit, and one for whether it is even."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = mlp([64, 96, 64], nn.GELU)
        self.norm = nn.LayerNorm(64)
        self.digit, self.even = nn.Linear(64, 10), nn.Linear(64, 1)
        # Uncertainties of both tasks weight the losses, as Kendall has it.
        self.log_variances = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.norm(self.trunk(x))
        return self.digit(h), self.even(h).squeeze(1), self.log_variances


def weighted(outputs: tuple[Tensor, Tensor, Tensor], targets: Tensor) -> Tensor:
    digit, even, log_variances = outputs
    parity = (targets % 2 == 0).float()
    losses = torch.stack(
        [
            F.cross_entropy(digit, targets),
            F.binary_cross_entropy_with_logits(even, parity),
        ]
    )
    return (losses * torch.exp(-log_variances) + log_variances).sum()


@model("deep", head="")
def tasks_weighted_by_uncertainty() -> Training:
    module = Fit(TwoTasks(), weighted, adam(2e-3))
    return Training(module, Batches(*learned(*digits())), steps=300)
