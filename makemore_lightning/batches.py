"""Windows of character ids, and batches as slices of tensors, without a Dataset or a DataLoader."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Windows(NamedTuple):
    """Contexts `(N, block_size)` and the id that follows each, `(N,)`; int64."""

    contexts: Tensor
    targets: Tensor

    @classmethod
    def from_names(cls, names: Iterable[Sequence[int]], block_size: int) -> "Windows":
        """Slides a window over each name, from all "." to the "." that ends it.

        Args:
            names: Ids of each name, without ".".
            block_size: Number of characters in a context.

        Returns:
            The windows of all names, in order; `len(name) + 1` for each name.

        Example:
            >>> Windows.from_names([[5, 13]], block_size=3).contexts.tolist()
            [[0, 0, 0], [0, 0, 5], [0, 5, 13]]
        """
        rows: list[list[int]] = []
        for name in names:
            padded = [0] * block_size + list(name) + [0]
            for start in range(len(name) + 1):
                rows.append(padded[start : start + block_size + 1])
        table = torch.tensor(rows, dtype=torch.int64)
        table = table.reshape(
            -1, block_size + 1
        )  # without names, tensor([]) has one dimension
        contexts, targets = table[:, :-1], table[:, -1]
        return cls(contexts.contiguous(), targets.contiguous())


Batch = tuple[Tensor, Tensor]
"""Contexts `(N, block_size)` and targets `(N,)`."""


class TrainingBatches:
    """Random batches for training, resumable after any batch; each iteration is one epoch.

    All rows of an epoch are drawn and gathered at once, so that a batch costs a slice and no Python work per sample.
    The rows are those that `torch.randint(0, N, (batch_size,))` would draw batch by batch.

    Args:
        windows: The rows to draw from.
        batch_size: Rows of a batch.
        replacement: True draws each row from all rows anew, as the notes do; False shuffles, every row once an epoch.
        generator: Random number generator; its state carries over from epoch to epoch.
        rank: Index of this process among the `world_size` that split the rows of an epoch.
        world_size: Number of processes.
    """

    def __init__(
        self,
        windows: Windows,
        batch_size: int,
        *,
        replacement: bool,
        generator: torch.Generator,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.windows = windows
        self.batch_size = batch_size
        self.replacement = replacement
        self._generator = generator
        self._rank, self._world_size = rank, world_size
        self._epoch_start = generator.get_state()
        self._position = 0
        self._resuming = False

    def __len__(self) -> int:
        rows = _ceil_divide(len(self.windows.targets), self._world_size)
        full_batches, remainder = divmod(rows, self.batch_size)
        # BatchNorm raises on a batch of one row: a single remaining row joins the batch before it.
        has_short_batch = remainder > 1 or rows == remainder
        return full_batches + has_short_batch

    def __iter__(self) -> Iterator[Batch]:
        batches, start = self._next_epoch()
        for position in range(start, len(batches)):
            # Counted before the batch is yielded: a checkpoint written during its step must not repeat it.
            self._position = position + 1
            yield batches[position]

    def _next_epoch(self) -> tuple[list[Batch], int]:
        """Draws the batches of an epoch, and returns them with the index of the first to yield."""
        start = self._position if self._resuming else 0
        self._resuming = False
        if start:
            self._generator.set_state(self._epoch_start)
            batches = self._draw_epoch()
            if start < len(batches):
                return batches, start
        self._epoch_start = self._generator.get_state()
        self._position = 0
        return self._draw_epoch(), 0

    def _draw_epoch(self) -> list[Batch]:
        rows = self._rows_of_this_rank(self._draw_rows())
        batch_count = len(self)
        last_size = len(rows) - self.batch_size * (batch_count - 1)
        sizes = [self.batch_size] * (batch_count - 1) + [last_size]
        contexts = self.windows.contexts[rows].split(sizes)
        targets = self.windows.targets[rows].split(sizes)
        return list(zip(contexts, targets, strict=True))

    def _draw_rows(self) -> Tensor:
        row_count = len(self.windows.targets)
        if not self.replacement:
            return torch.randperm(row_count, generator=self._generator)
        draws = len(self) * self.batch_size * self._world_size
        return torch.randint(row_count, (draws,), generator=self._generator)

    def _rows_of_this_rank(self, rows: Tensor) -> Tensor:
        # Every rank needs the same number of rows, or the others hang in a collective: the first rows are repeated.
        rows_per_rank = _ceil_divide(len(rows), self._world_size)
        positions = torch.arange(rows_per_rank) * self._world_size + self._rank
        return rows[positions % len(rows)]

    def state_dict(self) -> dict[str, Any]:
        """Returns the generator state at the start of the epoch and the number of batches yielded since."""
        return {"epoch_start": self._epoch_start, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a position; the next iteration continues after the last batch that was yielded."""
        self._epoch_start = state["epoch_start"]
        self._position = state["position"]
        self._resuming = True


class EvaluationBatches:
    """Batches of all rows, each row once and in order.

    Args:
        windows: The rows.
        batch_size: Rows of a batch.
    """

    def __init__(self, windows: Windows, batch_size: int) -> None:
        self._contexts = windows.contexts.split(batch_size)
        self._targets = windows.targets.split(batch_size)

    def __len__(self) -> int:
        return len(self._targets)

    def __iter__(self) -> Iterator[Batch]:
        return zip(self._contexts, self._targets, strict=True)


def _ceil_divide(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
