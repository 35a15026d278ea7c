"""Mean of the losses of all steps between two due ones."""

from torch import Tensor

from .measure.placement import is_readable
from .probe.context import FitContext


class MeanLoss:
    """Sum of losses, on the device that they are on: adding one waits for nothing."""

    def __init__(self) -> None:
        self._sum: float | Tensor = 0.0
        self._count = 0

    def add(self, loss: Tensor, context: FitContext) -> None:
        """Adds the loss of a batch, as Lightning is about to backpropagate it: scaled and divided."""
        loss = loss.detach()
        if loss.numel() != 1:
            return
        if context.scale.scaler is None and is_readable(loss):
            self._sum += loss.item() * context.micro_batches
        else:
            loss = context.scale.unscaled_loss(loss, context.micro_batches)
            self._sum = loss + self._sum
        self._count += 1

    def take(self) -> float | None:
        """Returns the mean, and begins again; None if nothing was added."""
        mean = float(self._sum) / self._count if self._count else None
        self._sum, self._count = 0.0, 0
        return mean
