from collections.abc import Iterator
from itertools import chain, islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from makemore_lightning.batches import EvaluationBatches, TrainingBatches, Windows

Batch = tuple[Tensor, Tensor]


def numbered(rows: int) -> Windows:
    """Windows whose target is the number of the row."""
    return Windows(torch.arange(rows)[:, None].repeat(1, 3), torch.arange(rows))


def loader(rows: int, batch_size: int, replacement: bool, seed: int = 0, **share: int) -> TrainingBatches:
    generator = torch.Generator().manual_seed(seed)
    return TrainingBatches(numbered(rows), batch_size, replacement=replacement, generator=generator, **share)


def rows_of(batches: Iterator[Batch]) -> list[list[int]]:
    for_each = []
    for contexts, targets in batches:
        assert torch.equal(contexts[:, 0], targets)
        for_each.append(targets.tolist())
    return for_each


class TestWindows:
    @given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1), st.integers(1, 5))
    def test_against_the_notes_own_loop(self, names: list[list[int]], block_size: int) -> None:
        x, y = [], []
        for name in names:
            context = [0] * block_size
            for i in [*name, 0]:
                x.append(context)
                y.append(i)
                context = [*context[1:], i]
        windows = Windows.from_names(names, block_size)
        assert windows.contexts.tolist() == x
        assert windows.targets.tolist() == y

    def test_no_names(self) -> None:
        assert Windows.from_names([], 3).contexts.shape == (0, 3)


class TestTrainingBatches:
    def test_replacement_draws_what_randint_draws_batch_by_batch(self) -> None:
        generator = torch.Generator().manual_seed(7)
        expected = [torch.randint(100, (32,), generator=generator).tolist() for _ in range(8)]
        batches = loader(100, 32, replacement=True, seed=7)
        assert rows_of(iter(batches)) + rows_of(iter(batches)) == expected

    def test_replacement_draws_what_pytorchs_sampler_draws(self) -> None:
        generator = torch.Generator().manual_seed(7)
        rows = TensorDataset(torch.arange(320))
        sampler = RandomSampler(rows, replacement=True, generator=generator)
        expected = [batch[0].tolist() for batch in DataLoader(rows, 32, sampler=sampler)]
        assert rows_of(iter(loader(320, 32, replacement=True, seed=7))) == expected

    @pytest.mark.parametrize("rows", [1, 31, 32, 33, 100])
    def test_shuffle_shows_every_row_once_an_epoch(self, rows: int) -> None:
        batches = loader(rows, 32, replacement=False)
        first, second = (rows_of(iter(batches)) for _ in range(2))
        assert len(first) == len(batches)
        assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(rows))
        assert rows == 1 or first != second

    @pytest.mark.parametrize("replacement", [True, False])
    @pytest.mark.parametrize("seen", range(1, 9))
    def test_goes_on_after_any_batch(self, replacement: bool, seen: int) -> None:
        def three_epochs(batches: TrainingBatches) -> Iterator[Batch]:
            while True:
                yield from batches

        whole = rows_of(islice(three_epochs(loader(100, 32, replacement)), 12))
        interrupted = loader(100, 32, replacement)
        assert rows_of(islice(three_epochs(interrupted), seen)) == whole[:seen]
        state = interrupted.state_dict()
        resumed = loader(100, 32, replacement, seed=99)
        resumed.load_state_dict(state)
        assert rows_of(islice(three_epochs(resumed), 12 - seen)) == whole[seen:]

    @pytest.mark.parametrize("replacement", [True, False])
    def test_an_epoch_cut_short_is_not_gone_on_with(self, replacement: bool) -> None:
        batches = loader(100, 32, replacement)
        first = rows_of(islice(iter(batches), 2))
        assert rows_of(islice(iter(batches), 2)) != first
        assert batches.state_dict()["position"] == 2

    @pytest.mark.parametrize("replacement", [True, False])
    @pytest.mark.parametrize(("rows", "world_size"), [(100, 3), (97, 2), (64, 2), (3, 4)])
    def test_processes_share_the_rows_evenly(self, replacement: bool, rows: int, world_size: int) -> None:
        ranks = [loader(rows, 8, replacement, rank=rank, world_size=world_size) for rank in range(world_size)]
        drawn = [rows_of(iter(rank)) for rank in ranks]
        assert {len(batches) for batches in drawn} == {len(ranks[0])}
        assert len({tuple(map(len, batches)) for batches in drawn}) == 1
        interleaved = list(chain(*zip(*(chain(*batches) for batches in drawn), strict=True)))
        if replacement:
            generator = torch.Generator().manual_seed(0)
            assert interleaved == torch.randint(rows, (len(interleaved),), generator=generator).tolist()
        else:
            assert sorted(interleaved[:rows]) == list(range(rows))
            assert interleaved[rows:] == interleaved[: len(interleaved) - rows]

    @pytest.mark.parametrize("rows", range(1, 70))
    @pytest.mark.parametrize("batch_size", [1, 2, 8])
    def test_no_batch_of_one_row_is_left_over(self, rows: int, batch_size: int) -> None:
        sizes = [len(batch) for batch in rows_of(iter(loader(rows, batch_size, replacement=False)))]
        assert sum(sizes) == rows
        assert rows == 1 or min(sizes) > 1 or batch_size == 1
        assert max(sizes) <= batch_size + 1


@pytest.mark.parametrize("batch_size", [1, 7, 100, 1000])
def test_evaluation_shows_every_row_once_in_order(batch_size: int) -> None:
    batches = EvaluationBatches(numbered(100), batch_size)
    for _ in range(2):
        drawn = rows_of(iter(batches))
        assert len(drawn) == len(batches)
        assert list(chain(*drawn)) == list(range(100))
