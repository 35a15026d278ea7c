"""An LSTM that forecasts a noisy wave, with a check of its gradients."""

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from makemore_lightning.callbacks import GradStats, HealthCheck, UpdateRatio  # added


class Forecaster(LightningModule):
    """Predicts the next value at every step of a series."""

    def __init__(self, hidden: int = 32, lr: float = 3e-3) -> None:
        super().__init__()
        self.lr = lr
        self.lstm = nn.LSTM(1, hidden, num_layers=2, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, series: Tensor) -> Tensor:
        states, _ = self.lstm(series)
        return self.head(states)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        (series,) = batch
        loss = F.mse_loss(self(series[:, :-1]), series[:, 1:])
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def waves(count: int = 1024, length: int = 50) -> DataLoader:
    """Returns batches of sine waves of any frequency and phase, with noise."""
    time = torch.arange(length)
    frequency, phase = torch.rand(2, count, 1)
    clean = torch.sin((0.1 + 0.4 * frequency) * time + 6.28 * phase)
    series = (clean + 0.05 * torch.randn(count, length)).unsqueeze(-1)
    return DataLoader(TensorDataset(series), batch_size=32, shuffle=True)


if __name__ == "__main__":
    seed_everything(0)
    trainer = Trainer(
        max_epochs=10,
        gradient_clip_val=1.0,
        callbacks=[
            # Added. `on_fail="stop"` ends a training that fails, long before it would have been over.
            HealthCheck(on_fail="stop"),
            # Added. One plot shows whether gradients vanish or explode, the other how fast each weight learns.
            GradStats(layers=["LSTM"]),
            UpdateRatio(),
        ],
    )
    trainer.fit(Forecaster(), waves())
    print(f"loss {trainer.callback_metrics['train/loss']:.4f}")
