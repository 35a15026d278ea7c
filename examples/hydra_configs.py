"""A project on Hydra in the manner of lightning-hydra-template: callbacks are files of configs/callbacks/."""

import hydra
import lightning.pytorch as pl
import torch
from omegaconf import DictConfig
from sklearn.datasets import load_wine
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Classifier(pl.LightningModule):
    """An MLP that tells three wines apart."""

    def __init__(self, width: int, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(
            *(nn.Linear(13, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()),
            nn.Linear(width, 3),
        )

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self.net(x), y)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def wines() -> DataLoader:
    """Returns batches of thirteen standardized measurements of a wine."""
    x, y = load_wine(return_X_y=True)
    table = torch.tensor(x, dtype=torch.float32)
    table = (table - table.mean(0)) / table.std(0)
    data = TensorDataset(table, torch.tensor(y))
    return DataLoader(data, batch_size=16, shuffle=True, drop_last=True)


def instantiate_callbacks(config: DictConfig) -> list[pl.Callback]:
    """Makes the callbacks of a config, as the template does."""
    return [hydra.utils.instantiate(callback) for callback in config.values()]


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(config: DictConfig) -> None:
    pl.seed_everything(config.seed)
    callbacks = instantiate_callbacks(config.callbacks)
    trainer = hydra.utils.instantiate(config.trainer, callbacks=callbacks)
    trainer.fit(Classifier(**config.model), wines())


if __name__ == "__main__":
    main()
