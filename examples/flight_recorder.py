"""A regression whose table has a missing value in one row: which step, which batch, and the same step again."""

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from makemore_lightning.callbacks import FlightRecorder, replay  # added


class Progression(LightningModule):
    """Predicts how a disease goes on, from ten columns."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        columns, target = batch
        return F.mse_loss(self.net(columns)[:, 0], target)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def patients() -> DataLoader:
    """Returns batches of patients; the blood pressure of one of them is missing."""
    columns, target = load_diabetes(return_X_y=True)
    x = torch.tensor(columns, dtype=torch.float32) * len(columns) ** 0.5
    y = torch.tensor(target, dtype=torch.float32)
    x[200, 3] = float("nan")
    rows = TensorDataset(x, (y - y.mean()) / y.std())
    return DataLoader(rows, batch_size=32, shuffle=True)


if __name__ == "__main__":
    seed_everything(0)
    recorder = FlightRecorder()  # added
    trainer = Trainer(max_epochs=2, callbacks=[recorder])
    trainer.fit(Progression(), patients())

    # Added. The folder has a page, the numbers of the last steps, and the batch; `replay` runs its step again.
    bundle = recorder.bundles[0]
    print((bundle / "README.md").read_text().split("\n\n")[1])
    print(replay(bundle, Progression()))
    batches = torch.load(bundle / "batches.pt", weights_only=True)
    columns, _ = batches[-1]["batch"]
    print("missing at row and column:", torch.nonzero(columns.isnan()).tolist())
