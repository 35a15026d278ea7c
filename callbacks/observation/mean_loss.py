"""Mean of the losses of the steps between two due ones."""

import torch
from torch import Tensor

from ..measure.placement import is_readable
from ..probe.context import FitContext


class MeanLoss:
    """Sum of losses, on the device that they are on: adding one waits for nothing.

    Attributes:
        count: Number of losses.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sum: float | Tensor = 0.0

    def add(self, loss: Tensor, context: FitContext) -> None:
        """Adds the loss of a batch, as Lightning is about to backpropagate it: scaled and divided."""
        loss = loss.detach()
        if loss.numel() != 1:
            return
        if context.scale.scaler is None and is_readable(loss):
            self._sum += loss.item() * context.micro_batches
        else:
            unscaled = context.scale.unscaled_loss(loss, context.micro_batches)
            self._sum = unscaled.reshape(()) + self._sum
        self.count += 1

    def mean(self) -> Tensor:
        """Returns `()` the mean of at least one loss."""
        total = self._sum
        if not isinstance(total, Tensor):
            total = torch.tensor(total, dtype=torch.float64)
        return total / self.count
