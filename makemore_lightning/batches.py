"""Names as windows of ids, and windows as batches, straight from tensors."""

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
            block_size: How many characters of context.

        Example:
            >>> Windows.from_names([[5, 13]], block_size=3).contexts.tolist()
            [[0, 0, 0], [0, 0, 5], [0, 5, 13]]
        """
        rows: list[list[int]] = []
        for name in names:
            padded = [0] * block_size + list(name) + [0]
            rows.extend(padded[i : i + block_size + 1] for i in range(len(name) + 1))
        table = torch.tensor(rows, dtype=torch.int64).reshape(-1, block_size + 1)
        return cls(table[:, :-1].contiguous(), table[:, -1].contiguous())


class TrainingBatches:
    """One epoch of random batches after another, resumable at any batch.

    The rows of an epoch are drawn at once and gathered at once, so that a batch costs a slice and no Python
    work per sample. Batches of `torch.randint(0, N, (batch_size,))` drawn one by one would be the same.

    Args:
        windows: What to draw from.
        batch_size: Rows a batch.
        replacement: True draws each row from all rows anew, as the notes do; False shuffles, every row once an epoch.
        generator: Source of the draws; continues from epoch to epoch.
        rank: Which share of a batch stream split over `world_size` processes is ours.
        world_size: How many processes share one stream.
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
        rows = -(-len(self.windows.targets) // self._world_size)
        full, rest = divmod(rows, self.batch_size)
        # A single row left over joins the batch before it: BatchNorm can't do with one.
        return full + (rest > 1 or rows == rest)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches, start = self._next_epoch()
        for position in range(start, len(batches)):
            # Before the batch is handed out: a checkpoint written while it trains must not repeat it.
            self._position = position + 1
            yield batches[position]

    def _next_epoch(self) -> tuple[list[tuple[Tensor, Tensor]], int]:
        start = self._position if self._resuming else 0
        self._resuming = False
        if start:
            self._generator.set_state(self._epoch_start)
            batches = self._draw()
            if start < len(batches):
                return batches, start
        self._epoch_start = self._generator.get_state()
        self._position = 0
        return self._draw(), 0

    def _draw(self) -> list[tuple[Tensor, Tensor]]:
        rows = len(self.windows.targets)
        if self.replacement:
            total = len(self) * self.batch_size * self._world_size
            order = torch.randint(rows, (total,), generator=self._generator)
        else:
            order = torch.randperm(rows, generator=self._generator)
        order = self._share(order)
        before_last = self.batch_size * (len(self) - 1)
        sizes = [self.batch_size] * (len(self) - 1) + [len(order) - before_last]
        contexts, targets = self.windows.contexts[order].split(sizes), self.windows.targets[order].split(sizes)
        return list(zip(contexts, targets, strict=True))

    def _share(self, order: Tensor) -> Tensor:
        # Every process must see as many rows as the others, or the others wait for it for ever; so the first rows
        # fill up the last round.
        rounds = -(-len(order) // self._world_size)
        ours = torch.arange(rounds) * self._world_size + self._rank
        return order[ours % len(order)]

    def state_dict(self) -> dict[str, Any]:
        """The draws of the current epoch and how many of its batches were handed out."""
        return {"epoch_start": self._epoch_start, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Makes the next iteration go on after the last batch that was handed out."""
        self._epoch_start = state["epoch_start"]
        self._position = state["position"]
        self._resuming = True


class EvaluationBatches:
    """All rows once, in order, in batches as large as speed likes.

    Args:
        windows: What to evaluate on.
        batch_size: Rows a batch.
    """

    def __init__(self, windows: Windows, batch_size: int) -> None:
        self._contexts = windows.contexts.split(batch_size)
        self._targets = windows.targets.split(batch_size)

    def __len__(self) -> int:
        return len(self._targets)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self._contexts, self._targets, strict=True)
