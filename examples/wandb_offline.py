"""An autoencoder under Weights & Biases, offline: numbers, histograms and pictures go to its pages."""

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import WandbLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from makemore_lightning.callbacks import (
    ActivationHistogram,
    HealthCheck,
    UpdateRatio,
)  # added


class Autoencoder(LightningModule):
    """Sixteen numbers for the 64 pixels of an image."""

    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__()
        self.lr = lr
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 16))
        self.decoder = nn.Sequential(
            *(nn.GELU(), nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 64)),
            nn.Sigmoid(),
        )

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        (images,) = batch
        loss = F.mse_loss(self.decoder(self.encoder(images)), images)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


if __name__ == "__main__":
    seed_everything(0)
    pixels, _ = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32) / 16
    data = DataLoader(TensorDataset(images), 32, shuffle=True, drop_last=True)
    health = HealthCheck()
    trainer = Trainer(
        max_epochs=10,
        # As it would be anyway; `wandb sync wandb/offline-run-*` uploads the run later.
        logger=WandbLogger(project="digits", offline=True),
        # Added. What a callback measures goes to whatever logger the Trainer has: nothing else is to be said.
        callbacks=[health, ActivationHistogram(), UpdateRatio()],
    )
    trainer.fit(Autoencoder(), data)
    # Added. The verdict as a column of the table of runs, to filter and sort them by.
    trainer.logger.experiment.summary["health"] = health.report.verdict
