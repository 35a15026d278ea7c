"""Names in training: read, check, split, and hand out as batches."""

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
    """Names of people as contexts of `block_size` characters and the character that follows.

    A batch is `(contexts, targets)`, int64 of shapes `(N, block_size)` and `(N,)`.

    Args:
        names: "ssa2018" (32 257 US first names of 2018, comes with the project), "makemore" (Karpathy's 32 033,
            downloaded once), or the path of a UTF-8 file with one name a line.
        block_size: How many characters of context.
        batch_size: Rows of a training batch.
        sampling: "replacement" draws each training row from all rows anew, as the notes do; "shuffle" goes through
            all rows once an epoch, in random order. An epoch is as many batches either way.
        fractions: Shares of train, val and test; their sum is 1.
        split_seed: Seed of the shuffle before the split; 42 is the notes'.
        unique: Removes repeated names before the split. Without it, one held-out name in eight stands in train too.
        eval_batch_size: Rows of a batch in validation and test; the result does not depend on it.
        makemore_url: Where "makemore" is downloaded from.

    Raises:
        InputError: If an argument is out of range, or, in `prepare_data` and `setup`, if the names cannot be had or
            used; says the file and the line.

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
        _check_counts(block_size=block_size, batch_size=batch_size, eval_batch_size=eval_batch_size)
        _check_fractions(fractions)
        if sampling not in ("replacement", "shuffle"):
            raise InputError(f'sampling must be "replacement" or "shuffle", got {sampling!r}')
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

    def prepare_data(self) -> None:
        """Downloads makemore's file if it is asked for and not there yet."""
        if self.names == name_files.MAKEMORE:
            name_files.download(self.makemore_url)

    def setup(self, stage: str) -> None:
        """Reads and splits the names and collects their characters."""
        self._generator = None  # each fit draws anew
        everything = name_files.read(name_files.locate(self.names, self.makemore_url))
        if self.unique:
            everything = everything.unique()
        self.splits = split_names(everything, self.fractions, self.split_seed)
        self.vocabulary = Vocabulary.from_names(everything.names)

    def windows(self, split: Split) -> Windows:
        """Returns all contexts and targets of one split.

        Raises:
            InputError: If a name has a character that `vocabulary` lacks; says the file and the line.
        """
        chosen = self.splits[split]
        encoded = []
        for name, line in zip(chosen.names, chosen.lines, strict=True):
            try:
                encoded.append(self.vocabulary.encode(name))
            except InputError as error:
                raise InputError(f"{chosen.path}, line {line}: {error}") from None
        return Windows.from_names(encoded, self.block_size)

    def train_dataloader(self) -> TrainingBatches:
        """Returns random batches, whose draws go on where PyTorch's global generator stands.

        The weights are drawn before, so that one seed draws the weights and then the batches, as in the notes.
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

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Moves the tensors of a batch; spares a pair of them the search through all that a batch might be made of."""
        if isinstance(batch, tuple):
            return tuple(tensor.to(device, non_blocking=True) for tensor in batch)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)  # the example of the model summary

    def val_dataloader(self) -> EvaluationBatches:
        return self.evaluation_dataloader("val")

    def test_dataloader(self) -> EvaluationBatches:
        return self.evaluation_dataloader("test")


def split_names(everything: NameList, fractions: Sequence[float], seed: int) -> dict[Split, NameList]:
    """Shuffles names and cuts them into train, val and test, as in the notes.

    Raises:
        InputError: If a split would be empty.
    """
    order = list(range(len(everything.names)))
    random.Random(seed).shuffle(order)
    # int() of 0.8 N and 0.9 N, as in the notes. Rounding keeps 0.8 + 0.1 from falling short of 0.9.
    cuts = [0, *(int(round(share, 9) * len(order)) for share in accumulate(fractions))]
    parts = [order[start:stop] for start, stop in pairwise(cuts)]
    if not all(parts):
        sizes = ", ".join(f"{len(part)} {split}" for split, part in zip(SPLITS, parts, strict=True))
        raise InputError(
            f"{everything.path}: {len(order)} names split {'/'.join(map(str, fractions))} leave {sizes}. "
            "Every split needs a name: give more names or other fractions."
        )
    return {
        split: NameList(
            everything.path,
            tuple(everything.names[i] for i in part),
            tuple(everything.lines[i] for i in part),
        )
        for split, part in zip(SPLITS, parts, strict=True)
    }


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} must be 1 or more, got {count}")


def _check_fractions(fractions: Sequence[float]) -> None:
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise InputError(f"fractions must be three shares above 0 with a sum of 1, got {tuple(fractions)}")
