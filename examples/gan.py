"""A GAN on the handwritten digits of scikit-learn, which steps its two optimizers by hand."""

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from makemore_lightning.callbacks import (
    HealthCheck,
    SaturationMap,
    UpdateRatio,
)  # added

NOISE = 16


class GAN(LightningModule):
    """A generator of 8 x 8 images, and a discriminator."""

    def __init__(self, lr: float = 5e-4) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.lr = lr
        self.generator = nn.Sequential(
            *(nn.Linear(NOISE, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU()),
            *(nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU()),
            *(nn.Linear(64, 64), nn.Tanh()),
        )
        self.discriminator = nn.Sequential(
            *(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Dropout(0.3)),
            *(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1)),
        )

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        of_generator, of_discriminator = self.optimizers()
        (real,) = batch
        fake = self.generator(torch.randn(len(real), NOISE))

        of_discriminator.zero_grad()
        loss = self.loss(real, True) + self.loss(fake.detach(), False)
        self.manual_backward(loss)
        of_discriminator.step()

        of_generator.zero_grad()
        self.manual_backward(self.loss(fake, True))
        of_generator.step()
        self.log("train/discriminator", loss, prog_bar=True)

    def loss(self, images: Tensor, are_real: bool) -> Tensor:
        logits = self.discriminator(images)
        return F.binary_cross_entropy_with_logits(
            logits, torch.full_like(logits, float(are_real))
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        networks = (self.generator, self.discriminator)
        return [
            torch.optim.Adam(net.parameters(), lr=self.lr, betas=(0.5, 0.999))
            for net in networks
        ]


if __name__ == "__main__":
    seed_everything(0)
    pixels, _ = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32) / 8 - 1
    data = DataLoader(TensorDataset(images), 64, shuffle=True, drop_last=True)
    callbacks = [
        # Added. A GAN's loss need not fall, and the tanh at the generator's end may be at -1: HealthCheck knows.
        HealthCheck(),
        # Added. Both networks are in each plot, by name: do they learn equally fast, and does a unit die?
        UpdateRatio(),
        SaturationMap(layers=["generator.*", "discriminator.*"]),
    ]
    Trainer(max_epochs=12, callbacks=callbacks).fit(GAN(), data)
