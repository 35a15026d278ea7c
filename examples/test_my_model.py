"""A test of a model before it is trained: `python -m pytest examples/test_my_model.py`."""

from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from makemore_lightning.callbacks import diagnose  # added


class MyModel(LightningModule):
    """A classifier with three tanh layers."""

    def __init__(self, gain: float = 5 / 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (8, 64, 64):
            linear = nn.Linear(width, 64)
            nn.init.xavier_normal_(linear.weight, gain)
            layers += [linear, nn.Tanh()]
        self.net = nn.Sequential(*layers, nn.Linear(64, 5))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.net(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


@pytest.fixture
def data() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, 8, generator=generator)
    return DataLoader(TensorDataset(x, x.argmax(1) % 5), batch_size=32)


# Added. Sixteen steps on a copy of the model, in less than a second: the rules of HealthCheck, before any training.
def test_begins_healthy(data: DataLoader[Any]) -> None:
    torch.manual_seed(0)
    diagnosis = diagnose(MyModel(), data)
    assert diagnosis.verdict != "fail", diagnosis  # a failure prints what is wrong


# Added. That test can fail: somebody changes the initialization, and the layer that suffers is named.
def test_finds_a_gain_that_is_too_large(data: DataLoader[Any]) -> None:
    torch.manual_seed(0)
    diagnosis = diagnose(MyModel(gain=30), data)
    assert diagnosis.verdict == "fail"
    assert ("saturation", "net.1") in {
        (finding.rule, finding.where) for finding in diagnosis.findings
    }
