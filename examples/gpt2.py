"""A small GPT-2, made of a configuration of `transformers` without any download, that learns to write Python."""

import inspect

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel

from makemore_lightning.callbacks import GradStats, HealthCheck  # added

STEPS, CONTEXT = 200, 64


class GPT2(LightningModule):
    """A language model over bytes."""

    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__()
        self.lr = lr
        config = GPT2Config(
            vocab_size=256,
            n_positions=CONTEXT,
            n_embd=64,
            n_layer=3,
            n_head=4,
            bos_token_id=0,
            eos_token_id=0,
        )
        self.model = GPT2LMHeadModel(config)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.model(input_ids=batch, labels=batch).loss
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        schedule = OneCycleLR(optimizer, self.lr, total_steps=STEPS, pct_start=0.1)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def source_code() -> DataLoader:
    """Returns batches of the source code of GPT-2 itself, as bytes."""
    text = inspect.getsource(inspect.getmodule(GPT2LMHeadModel))
    windows = torch.tensor(list(text.encode())).unfold(0, CONTEXT, CONTEXT // 4)
    return DataLoader(windows, batch_size=16, shuffle=True, drop_last=True)


if __name__ == "__main__":
    seed_everything(0)
    trainer = Trainer(
        max_steps=STEPS,
        gradient_clip_val=1.0,
        callbacks=[
            # Added. Knows that the loss of 256 bytes begins at ln 256 = 5.5, and that updates are small in a warm-up.
            HealthCheck(),
            # Added. Gradients of each block; patterns choose layers and parameters by name or class.
            GradStats(layers=["*.h.[0-9]"], params=["*.attn.*.weight"]),
        ],
    )
    trainer.fit(GPT2(), source_code())
    print(f"loss {trainer.callback_metrics['train/loss']:.2f}")
