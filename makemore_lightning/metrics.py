"""Metrics of next-character prediction."""

import math

from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy


class CharacterMetrics(nn.Module):
    """Loss, bits per character, perplexity and accuracy over any number of batches.

    Args:
        vocab_size: Number of characters in the vocabulary.

    Example:
        >>> import torch
        >>> metrics = CharacterMetrics(vocab_size=27)
        >>> metrics.update(torch.tensor(3.2958369), torch.zeros(4, 27), torch.tensor([0, 1, 2, 3]))
        >>> {name: round(float(value), 3) for name, value in metrics.compute().items()}
        {'loss': 3.296, 'bits_per_character': 4.755, 'perplexity': 27.0, 'accuracy': 0.25}
    """

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.loss = MeanMetric()
        self.accuracy = MulticlassAccuracy(vocab_size, average="micro")

    def update(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Accumulates one batch.

        Args:
            loss: Mean cross entropy of the batch in nats, 0-dimensional.
            logits: `(N, vocab_size)`.
            targets: Ids of the target characters, `(N,)`.
        """
        self.loss.update(loss, weight=len(targets))
        self.accuracy.update(logits, targets)

    def compute(self) -> dict[str, Tensor]:
        """Returns the metrics over all batches since the last reset.

        Returns:
            `loss` in nats, `bits_per_character`, `perplexity` as a number of characters, `accuracy` as a fraction.
        """
        loss = self.loss.compute()
        return {
            "loss": loss,
            "bits_per_character": loss / math.log(2),
            "perplexity": loss.exp(),
            "accuracy": self.accuracy.compute(),
        }

    def reset(self) -> None:
        """Clears the accumulated batches."""
        self.loss.reset()
        self.accuracy.reset()
