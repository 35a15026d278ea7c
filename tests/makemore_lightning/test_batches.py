"""Tests of windows, training batches and evaluation batches."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from makemore_lightning.batches import (
    Batch,
    EvaluationBatches,
    TrainingBatches,
    Windows,
)


def numbered_windows(rows: int) -> Windows:
    """Returns windows in which the context characters and the target are the number of the row."""
    numbers = torch.arange(rows)
    return Windows(numbers[:, None].repeat(1, 3), numbers)


def training_batches(
    rows: int, batch_size: int, replacement: bool, seed: int = 0, **ranks: int
) -> TrainingBatches:
    generator = torch.Generator().manual_seed(seed)
    windows = numbered_windows(rows)
    return TrainingBatches(
        windows, batch_size, replacement=replacement, generator=generator, **ranks
    )


def row_numbers(batches: Iterable[Batch]) -> list[list[int]]:
    """Returns the row numbers of each batch, after comparing contexts with targets."""
    rows = []
    for contexts, targets in batches:
        assert torch.equal(contexts[:, 0], targets)
        rows.append(targets.tolist())
    return rows


def endless(batches: TrainingBatches) -> Iterator[Batch]:
    """Iterates over epoch after epoch."""
    while True:
        yield from batches


class TestWindows:
    @given(
        st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1),
        st.integers(1, 5),
    )
    def test_equal_to_the_notes_loop(
        self, names: list[list[int]], block_size: int
    ) -> None:
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
    def test_replacement_equals_randint_batch_by_batch(self) -> None:
        generator = torch.Generator().manual_seed(7)
        expected = [
            torch.randint(100, (32,), generator=generator).tolist() for _ in range(8)
        ]
        batches = training_batches(100, 32, replacement=True, seed=7)
        assert row_numbers(batches) + row_numbers(batches) == expected

    def test_replacement_equals_pytorchs_random_sampler(self) -> None:
        generator = torch.Generator().manual_seed(7)
        rows = TensorDataset(torch.arange(320))
        sampler = RandomSampler(rows, replacement=True, generator=generator)
        expected = [
            batch[0].tolist() for batch in DataLoader(rows, 32, sampler=sampler)
        ]
        assert (
            row_numbers(training_batches(320, 32, replacement=True, seed=7)) == expected
        )

    @pytest.mark.parametrize("rows", [1, 31, 32, 33, 100])
    def test_shuffle_draws_every_row_once_an_epoch(self, rows: int) -> None:
        batches = training_batches(rows, 32, replacement=False)
        first, second = row_numbers(batches), row_numbers(batches)
        assert len(first) == len(batches)
        assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(rows))
        assert rows == 1 or first != second

    @pytest.mark.parametrize("replacement", [True, False])
    @pytest.mark.parametrize("stop", range(1, 9))
    def test_resumes_after_any_batch(self, replacement: bool, stop: int) -> None:
        expected = row_numbers(
            islice(endless(training_batches(100, 32, replacement)), 12)
        )
        interrupted = training_batches(100, 32, replacement)
        assert row_numbers(islice(endless(interrupted), stop)) == expected[:stop]
        state = interrupted.state_dict()
        resumed = training_batches(100, 32, replacement, seed=99)
        resumed.load_state_dict(state)
        assert row_numbers(islice(endless(resumed), 12 - stop)) == expected[stop:]

    @pytest.mark.parametrize("replacement", [True, False])
    def test_a_new_iteration_starts_a_new_epoch(self, replacement: bool) -> None:
        batches = training_batches(100, 32, replacement)
        first = row_numbers(islice(batches, 2))
        assert row_numbers(islice(batches, 2)) != first
        assert batches.state_dict()["position"] == 2

    @pytest.mark.parametrize("replacement", [True, False])
    @pytest.mark.parametrize(
        ("rows", "world_size"), [(100, 3), (97, 2), (64, 2), (3, 4)]
    )
    def test_ranks_have_equal_numbers_of_rows(
        self, replacement: bool, rows: int, world_size: int
    ) -> None:
        ranks = [
            training_batches(rows, 8, replacement, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        drawn = [row_numbers(batches) for batches in ranks]
        assert {len(batches) for batches in drawn} == {len(ranks[0])}
        assert len({tuple(map(len, batches)) for batches in drawn}) == 1
        rows_of_ranks = [chain(*batches) for batches in drawn]
        interleaved = list(chain(*zip(*rows_of_ranks, strict=True)))
        if replacement:
            generator = torch.Generator().manual_seed(0)
            expected = torch.randint(rows, (len(interleaved),), generator=generator)
            assert interleaved == expected.tolist()
        else:
            assert sorted(interleaved[:rows]) == list(range(rows))
            assert interleaved[rows:] == interleaved[: len(interleaved) - rows]

    @pytest.mark.parametrize("rows", range(1, 70))
    @pytest.mark.parametrize("batch_size", [1, 2, 8])
    def test_no_remaining_batch_of_one_row(self, rows: int, batch_size: int) -> None:
        batches = row_numbers(training_batches(rows, batch_size, replacement=False))
        sizes = [len(batch) for batch in batches]
        assert sum(sizes) == rows
        assert rows == 1 or min(sizes) > 1 or batch_size == 1
        assert max(sizes) <= batch_size + 1


@pytest.mark.parametrize("batch_size", [1, 7, 100, 1000])
def test_evaluation_batches_contain_every_row_once_in_order(batch_size: int) -> None:
    batches = EvaluationBatches(numbered_windows(100), batch_size)
    for _ in range(2):
        rows = row_numbers(batches)
        assert len(rows) == len(batches)
        assert list(chain(*rows)) == list(range(100))
