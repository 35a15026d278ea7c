"""A transformer that reads digits row by row in bfloat16: could it run in 8 bits, and with which scales?"""

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from makemore_lightning.callbacks import HealthCheck, NumberRange  # added

WIDTH = 32


class Transformer(LightningModule):
    """Two blocks over the eight rows of an image, and a linear head."""

    def __init__(self, lr: float = 2e-3) -> None:
        super().__init__()
        self.lr = lr
        self.embed = nn.Linear(8, WIDTH)
        self.places = nn.Parameter(0.1 * torch.randn(8, WIDTH))
        block = nn.TransformerEncoderLayer(
            WIDTH, 4, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.blocks(self.embed(rows) + self.places).mean(1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        rows, labels = batch
        loss = F.cross_entropy(self(rows), labels)
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def digits() -> DataLoader:
    """Returns batches of images, each a sequence of rows."""
    images, labels = load_digits(return_X_y=True)
    rows = torch.tensor(images, dtype=torch.float32).view(-1, 8, 8) / 16
    data = TensorDataset(rows, torch.tensor(labels))
    return DataLoader(data, 32, shuffle=True, drop_last=True)


if __name__ == "__main__":
    seed_everything(0)
    # Added. What the products of the blocks read: outputs of normalizations and of activations.
    ranges = NumberRange(
        layers=["LayerNorm", "*.relu"], formats=["bf16", "e4m3", "e5m2"]
    )
    trainer = Trainer(
        max_epochs=6,
        precision="bf16-mixed",
        callbacks=[HealthCheck(), ranges],
    )
    trainer.fit(Transformer(), digits())
    print(f"loss {trainer.callback_metrics['train/loss']:.2f}")
    # Added. The whole table is on TensorBoard's Text page, and in `ranges.table.to_markdown()`.
    table = ranges.table
    print(table.summary)
    for row in table.rows:
        if row.fits == "scaled" and row.tensor != "update":
            print(f"{row.tensor} of {row.name}: {row.fp8} with 2^{row.scale}")
