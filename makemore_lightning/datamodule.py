"""LightningDataModule of names: reads, checks and splits them, and builds batches."""

import random
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule

from makemore_lightning import names as name_files
from makemore_lightning.batches import EvaluationBatches, TrainingBatches, Windows
from makemore_lightning.errors import InputError
from makemore_lightning.names import NameList
from makemore_lightning.vocabulary import Vocabulary

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class NamesDataModule(LightningDataModule):
    """Contexts of `block_size` characters of people's names, each with the character that follows.

    A batch is `(contexts, targets)`, int64 of shapes `(N, block_size)` and `(N,)`.

    Args:
        names: "ssa2018" (32 257 US first names of 2018, part of the project), "makemore" (Karpathy's 32 033,
            downloaded once), or the path of a UTF-8 file with one name a line.
        block_size: Number of characters in a context.
        batch_size: Rows of a training batch.
        sampling: "replacement" draws each training row from all rows anew, as the notes do; "shuffle" draws every
            row once an epoch, in random order. The number of batches in an epoch is the same.
        fractions: Fractions of names in train, val and test; their sum is 1.
        split_seed: Seed of the shuffle before the split; the notes use 42.
        unique: Removes repeated names before the split. Without it, one held-out name in eight is also in train.
        eval_batch_size: Rows of a batch in validation and test; the metrics do not depend on it.
        makemore_url: Address that "makemore" is downloaded from.

    Raises:
        InputError: If an argument is out of range, or, in `prepare_data` and `setup`, if the names cannot be read;
            the message names the file and the line.

    Example:
        >>> data = NamesDataModule()
        >>> data.setup("fit")
        >>> contexts, targets = next(iter(data.train_dataloader()))
        >>> contexts.shape, targets.shape
        (torch.Size([32, 3]), torch.Size([32]))
    """

    def __init__(
        self,
        names: str = name_files.EMBEDDED,
        *,
        block_size: int = 3,
        batch_size: int = 32,
        sampling: Literal["replacement", "shuffle"] = "replacement",
        fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
        split_seed: int = 42,
        unique: bool = False,
        eval_batch_size: int = 8192,
        makemore_url: str = name_files.MAKEMORE_URL,
    ) -> None:
        super().__init__()
        _check_counts(
            block_size=block_size,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
        )
        _check_fractions(fractions)
        if sampling not in ("replacement", "shuffle"):
            raise InputError(
                f'sampling must be "replacement" or "shuffle", got {sampling!r}'
            )
        self.save_hyperparameters(ignore=["eval_batch_size", "makemore_url"])
        self.names = names
        self.block_size = block_size
        self.batch_size = batch_size
        self.sampling = sampling
        self.fractions = fractions
        self.split_seed = split_seed
        self.unique = unique
        self.eval_batch_size = eval_batch_size
        self.makemore_url = makemore_url
        self.splits: dict[Split, NameList] = {}
        self.vocabulary: Vocabulary
        self._generator: torch.Generator | None = None
        self._windows: dict[tuple[Split, Vocabulary], Windows] = {}

    def prepare_data(self) -> None:
        """Downloads makemore's file if it is configured and not in the cache."""
        if self.names == name_files.MAKEMORE:
            name_files.download(self.makemore_url)

    def setup(self, stage: str) -> None:
        """Reads the names, splits them, and collects their characters in a vocabulary."""
        self._generator = None  # every fit starts a new stream of random numbers
        self._windows = {}
        name_list = name_files.read(name_files.locate(self.names, self.makemore_url))
        if self.unique:
            name_list = name_list.unique()
        self.splits = split_names(name_list, self.fractions, self.split_seed)
        self.vocabulary = Vocabulary.from_names(name_list.names)

    def windows(self, split: Split) -> Windows:
        """Returns all contexts and targets of one split.

        Raises:
            InputError: If a name has a character that `vocabulary` lacks; the message names the file and the line.
        """
        key = (split, self.vocabulary)
        if key not in self._windows:
            self._windows[key] = self._encode(self.splits[split])
        return self._windows[key]

    def _encode(self, name_list: NameList) -> Windows:
        encoded = []
        for name, line in zip(name_list.names, name_list.lines, strict=True):
            try:
                encoded.append(self.vocabulary.encode(name))
            except InputError as error:
                raise InputError(f"{name_list.path}, line {line}: {error}") from None
        return Windows.from_names(encoded, self.block_size)

    def train_dataloader(self) -> TrainingBatches:
        """Returns random batches, drawn by a copy of PyTorch's global generator.

        The weights have been drawn before: one seed determines the weights and then the batches, as in the notes.
        """
        if self._generator is None:
            self._generator = torch.Generator()
            self._generator.set_state(torch.get_rng_state())
        return TrainingBatches(
            self.windows("train"),
            self.batch_size,
            replacement=self.sampling == "replacement",
            generator=self._generator,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
        )

    def evaluation_dataloader(self, split: Split) -> EvaluationBatches:
        """Returns all rows of a split once, in order."""
        return EvaluationBatches(self.windows(split), self.eval_batch_size)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Moves a batch to a device, without Lightning's generic search for tensors in nested collections."""
        if isinstance(batch, tuple):
            return tuple(tensor.to(device, non_blocking=True) for tensor in batch)
        return super().transfer_batch_to_device(
            batch, device, dataloader_idx
        )  # the example input of the model summary

    def val_dataloader(self) -> EvaluationBatches:
        return self.evaluation_dataloader("val")

    def test_dataloader(self) -> EvaluationBatches:
        return self.evaluation_dataloader("test")


def split_names(
    name_list: NameList, fractions: Sequence[float], seed: int
) -> dict[Split, NameList]:
    """Shuffles names and cuts them into train, val and test, as in the notes.

    Args:
        name_list: The names to split.
        fractions: Fractions of names in train, val and test; their sum is 1.
        seed: Seed of the shuffle.

    Returns:
        The names of each split, in shuffled order.

    Raises:
        InputError: If a split would be empty.
    """
    order = list(range(len(name_list.names)))
    random.Random(seed).shuffle(order)
    splits: dict[Split, NameList] = {}
    for split, (start, stop) in zip(
        SPLITS, pairwise(_cuts(fractions, len(order))), strict=True
    ):
        splits[split] = name_list.select(order[start:stop])
    if not all(split.names for split in splits.values()):
        sizes = ", ".join(
            f"{len(split.names)} {name}" for name, split in splits.items()
        )
        raise InputError(
            f"{name_list.path}: {len(order)} names split {'/'.join(map(str, fractions))} leave {sizes}. "
            "Every split needs a name: give more names or other fractions."
        )
    return splits


def _cuts(fractions: Sequence[float], count: int) -> list[int]:
    # int() of 0.8 N and 0.9 N, as in the notes. Rounded, because 0.8 + 0.1 is below 0.9 in floating point.
    cumulative = accumulate(fractions)
    return [0, *(int(round(fraction, 9) * count) for fraction in cumulative)]


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} must be 1 or more, got {count}")


def _check_fractions(fractions: Sequence[float]) -> None:
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise InputError(
            f"fractions must be three shares above 0 with a sum of 1, got {tuple(fractions)}"
        )
