"""A text classifier under MLflow: numbers become metrics, pictures and the report artifacts of the run."""

import os

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import MLFlowLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from makemore_lightning.callbacks import HealthCheck, UpdateRatio  # added

# A folder is enough for an example; leave this line out where there is a server.
os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")


class BagOfWords(LightningModule):
    """Mean of the embedded words of a sentence, and an MLP."""

    def __init__(self, vocabulary: int, classes: int, lr: float = 3e-3) -> None:
        super().__init__()
        self.lr = lr
        self.embedding = nn.Embedding(vocabulary, 32)
        self.norm = nn.LayerNorm(32)
        self.head = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, classes))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        words, topics = batch
        sentence = self.norm(self.embedding(words).mean(1))
        loss = F.cross_entropy(self.head(sentence), topics)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def sentences(count: int = 2000, length: int = 20, topics: int = 4) -> DataLoader:
    """Returns batches of made-up sentences; each topic has words that it uses more often."""
    topic = torch.randint(topics, (count,))
    common = torch.randint(100, (count, length))
    own = 100 + 25 * topic.unsqueeze(1) + torch.randint(25, (count, length))
    words = torch.where(torch.rand(count, length) < 0.2, own, common)
    return DataLoader(TensorDataset(words, topic), 32, shuffle=True, drop_last=True)


if __name__ == "__main__":
    seed_everything(0)
    health = HealthCheck()
    logger = MLFlowLogger(experiment_name="topics", save_dir="mlruns")
    trainer = Trainer(
        max_epochs=6,
        logger=logger,
        # Added. Metrics `health/verdict` and `update_ratio/...`, and pictures as artifacts.
        callbacks=[health, UpdateRatio()],
    )
    trainer.fit(BagOfWords(vocabulary=200, classes=4), sentences())
    # Added. The verdict as a tag to search runs by, and the findings as a file of the run.
    run, client = logger.run_id, logger.experiment
    client.set_tag(run, "health", health.report.verdict)
    client.log_text(run, health.report.to_markdown(), "health.md")
