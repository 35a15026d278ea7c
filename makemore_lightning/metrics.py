"""Metrics of next-character prediction."""

import math
from typing import Any

import torch
import torch.nn.functional as F
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


class RunningLoss:
    """Mean loss of the batches since a point of the chart, summed on the device.

    Adding a loss copies nothing to the CPU: a copy at every step would make an accelerator wait.

    Example:
        >>> loss = RunningLoss()
        >>> loss.add(torch.tensor(3.0))
        >>> loss.add(torch.tensor(2.0))
        >>> float(loss.mean())
        2.5
    """

    def __init__(self) -> None:
        self._sum = torch.zeros((), dtype=torch.float64)
        self._count = 0

    def to(self, device: torch.device) -> None:
        """Moves the sum to a device."""
        # Single precision would stop growing within the longest intervals; MPS has no double precision.
        precision = torch.float32 if device.type == "mps" else torch.float64
        self._sum = self._sum.to(device, precision)

    def add(self, loss: Tensor) -> None:
        """Adds the loss of a batch, 0-dimensional and detached."""
        self._sum += loss
        self._count += 1

    def mean(self) -> Tensor:
        """Returns the mean of the losses since the last reset; NaN if there are none."""
        return self._sum / self._count

    def reset(self) -> None:
        """Starts a new mean."""
        self._sum = torch.zeros_like(self._sum)
        self._count = 0

    def state_dict(self) -> dict[str, Any]:
        """Returns the sum and the number of losses."""
        return {"sum": float(self._sum), "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the sum and the number of losses."""
        self._sum = torch.tensor(state["sum"], dtype=torch.float64)
        self._count = state["count"]


@torch.no_grad()
def mean_loss(
    network: nn.Module, contexts: Tensor, targets: Tensor, batch_size: int = 8192
) -> float:
    """Computes the mean cross entropy over all rows, in nats; the network stays in its mode.

    Args:
        network: Maps contexts `(N, block_size)` to logits `(N, vocab_size)`.
        contexts: `(N, block_size)`.
        targets: Ids of the target characters, `(N,)`.
        batch_size: Rows at a time, approximately.
    """
    # Batches of about one size: BatchNorm in training mode raises on a remainder of one row.
    batch_count = max(1, len(targets) // batch_size)
    total = 0.0
    for batch, batch_targets in zip(
        contexts.tensor_split(batch_count),
        targets.tensor_split(batch_count),
        strict=True,
    ):
        loss = F.cross_entropy(network(batch), batch_targets, reduction="sum")
        total += float(loss)
    return total / len(targets)
