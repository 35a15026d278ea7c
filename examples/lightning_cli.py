"""A project on LightningCLI; its callbacks are four lines of lightning_cli.yaml, and none of its code."""

import sys
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Diabetes(LightningDataModule):
    """Ten standardized measurements of a patient, and how the disease went on."""

    def __init__(self, batch_size: int = 32) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        x, y = load_diabetes(return_X_y=True, scaled=False)
        table = torch.tensor(x, dtype=torch.float32)
        target = torch.tensor(y, dtype=torch.float32).unsqueeze(1)
        self.data = TensorDataset(standardized(table), standardized(target))

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.data, self.batch_size, shuffle=True, drop_last=True)


def standardized(columns: Tensor) -> Tensor:
    return (columns - columns.mean(0)) / columns.std(0)


class MLP(LightningModule):
    """Two hidden layers."""

    def __init__(self, width: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Linear(10, width), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(width, 1),
        )

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.mse_loss(self.net(x), y)
        self.log("train/loss", loss, prog_bar=True)
        return loss


if __name__ == "__main__":
    config = Path(__file__).with_suffix(".yaml")
    arguments = sys.argv[1:] or ["fit", "--config", str(config)]
    LightningCLI(MLP, Diabetes, args=arguments, save_config_callback=None)
