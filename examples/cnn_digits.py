"""A CNN on the handwritten digits of scikit-learn, with a verdict on its training and the plots that show why."""

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

from makemore_lightning.callbacks import (  # added
    ActivationHistogram,
    GradStats,
    HealthCheck,
    SaturationMap,
    UpdateRatio,
)


class CNN(LightningModule):
    """Two convolutions with BatchNorm, and a linear head."""

    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 10),
        )

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self.net(x), y)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, y = batch
        accuracy = (self.net(x).argmax(1) == y).float().mean()
        self.log("val/accuracy", accuracy)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def digits() -> tuple[DataLoader, DataLoader]:
    """Returns batches for training and validation."""
    x, y = load_digits(return_X_y=True)
    images = torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    train, val = random_split(TensorDataset(images, torch.tensor(y)), [0.8, 0.2])
    return DataLoader(train, 32, shuffle=True, drop_last=True), DataLoader(val, 256)


if __name__ == "__main__":
    seed_everything(0)
    trainer = Trainer(
        max_epochs=6,
        callbacks=[
            # Added. Judges steps 0, 1, 2, 4, ... and every 100th, and prints its verdict when training ends.
            HealthCheck(),
            # Added. The same numbers as plots, to see why: `tensorboard --logdir lightning_logs`.
            ActivationHistogram(),
            GradStats(),
            UpdateRatio(),
            SaturationMap(),
        ],
    )
    trainer.fit(CNN(), *digits())
    print(f"accuracy {trainer.callback_metrics['val/accuracy']:.3f}")
