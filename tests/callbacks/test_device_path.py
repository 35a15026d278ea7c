"""Tests of the path that tensors on an accelerator take, on CPU tensors: operations, waits and transfers.

Under `simulated_device` every tensor is treated as one on a device. Operations are
counted by PyTorch's own dispatch, from the begin of a batch to the transfer of its results.
"""

from itertools import pairwise
from typing import Any

import pytest
import torch
from fits import (
    FOUR,
    ByHand,
    Regression,
    as_lists,
    every_step,
    expect_close,
    fit,
    numbers,
    records_of,
    tanh_net,
)
from lightning.pytorch import Callback, Trainer
from operations import READS, Operations, StepCounts, added_kernels, count_steps
from torch import Tensor, nn
from torch.nn import functional as F

from callbacks import (
    ActivationHistogram,
    GradStats,
    HealthCheck,
    Histogram,
    NumberRange,
    SaturationMap,
)
from callbacks.measure.norms import TAKES_DTYPE
from callbacks.measure.placement import simulated_device

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)
EACH = pytest.mark.parametrize(
    "kind", [*FOUR, NumberRange], ids=lambda kind: kind.__name__
)
MOST_ADDED = 300
"""Operations that a due step of a network of ten layers costs more, at most."""

MOST_FOR_RANGES = 10
"""Operations that NumberRange adds to those of the other instruments, at most."""


def every_fourth(kinds: Any = FOUR, **options: Any) -> list[Callback]:
    return [
        kind(every_n_steps=4, dense_start=False, figures=False, **options)
        for kind in kinds
    ]


class TestNumbers:
    """Numbers are those of the path that CPU tensors take."""

    def test_of_every_instrument(self) -> None:
        plain = records_of(lambda: Regression(tanh_net()), max_steps=3)
        with simulated_device():
            records = records_of(lambda: Regression(tanh_net()), max_steps=3)
        for step in range(3):
            expect_close(numbers(records[step]), numbers(plain[step]), rel=1e-6)
            histograms = {
                tag: value
                for tag, value in plain[step].items()
                if isinstance(value, Histogram)
            }
            for tag, histogram in histograms.items():
                assert as_lists(records[step][tag])[1:] == as_lists(histogram)[1:]

    @pytest.mark.parametrize(
        "options",
        [{"accumulate_grad_batches": 3}, {"precision": "64-true"}],
        ids=str,
    )
    def test_in_other_regimes(self, options: dict[str, Any]) -> None:
        plain = records_of(lambda: Regression(tanh_net()), max_steps=3, **options)
        with simulated_device():
            records = records_of(lambda: Regression(tanh_net()), max_steps=3, **options)
        for step in range(3):
            expect_close(numbers(records[step]), numbers(plain[step]), rel=1e-6)


class TestOneTransfer:
    def test_of_all_instruments_together(self) -> None:
        counts = count_steps(
            lambda: Regression(tanh_net()), every_fourth(), max_steps=8
        )
        assert counts.transfers == [1, 0, 0, 0, 1, 0, 0, 1]
        assert counts.waits == [[]] * 8

    @EACH
    def test_of_each_instrument_alone(self, kind: Any) -> None:
        counts = count_steps(
            lambda: Regression(tanh_net()), every_fourth([kind]), max_steps=8
        )
        assert counts.transfers == [1, 0, 0, 0, 1, 0, 0, 1]
        assert counts.waits == [[]] * 8

    def test_of_a_health_check(self) -> None:
        """Without its watch for NaN, whose flags come by a copy of their own, asynchronously."""

        class Unwatched(HealthCheck):
            def on_train_start(self, trainer: Any, pl_module: Any) -> None:
                super().on_train_start(trainer, pl_module)
                self._watch = None

        counts = count_steps(
            lambda: Regression(tanh_net()), every_fourth([Unwatched]), max_steps=8
        )
        assert counts.transfers == [1, 0, 0, 0, 1, 0, 0, 1]
        assert counts.waits == [[]] * 8

    def test_with_maps_and_everything_chosen(self) -> None:
        instruments = every_step(layers=["*"], params=["*"])
        counts = count_steps(lambda: Regression(tanh_net()), instruments, max_steps=3)
        assert counts.transfers == [1, 1, 1]
        assert counts.waits == [[]] * 3

    def test_with_a_learning_rate_on_the_device(self) -> None:
        def adam(params: Any) -> torch.optim.Optimizer:
            return torch.optim.Adam(params, lr=torch.tensor(0.01), foreach=False)

        bare = count_steps(lambda: Regression(tanh_net(), adam), [], max_steps=3)
        counts = count_steps(
            lambda: Regression(tanh_net(), adam),
            every_step(figures=False),
            max_steps=3,
        )
        assert counts.transfers == [1, 1, 1]
        assert counts.waits == bare.waits  # the optimizer's own

    def test_with_accumulation(self) -> None:
        counts = count_steps(
            lambda: Regression(tanh_net()),
            every_step(figures=False),
            max_steps=2,
            accumulate_grad_batches=2,
        )
        assert counts.transfers == [0, 1, 0, 1]
        assert counts.waits == [[]] * 4

    def test_in_manual_optimization(self) -> None:
        counts = count_steps(
            lambda: ByHand(tanh_net()), every_step(figures=False), max_steps=2
        )
        assert counts.transfers == [1, 1]
        assert counts.waits == [[]] * 2


class DeepBatchNorm(nn.Module):
    """Six blocks of linear layer, BatchNorm and tanh, as `configs/deep_batchnorm.yaml`."""

    def __init__(self, blocks: int = 6) -> None:
        super().__init__()
        widths = [4, *[100] * blocks]
        layers = [
            nn.Sequential(nn.Linear(n, m, bias=False), nn.BatchNorm1d(m), nn.Tanh())
            for n, m in pairwise(widths)
        ]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(100, 27)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Block(nn.Module):
    """Transformer block with a functional activation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.ln1(x)).chunk(3, -1)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v))
        return x + self.down(F.gelu(self.up(self.ln2(x))))


class GPT(nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(4, 16), nn.Linear(16, 1)
        self.blocks = nn.Sequential(*(Block(16) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.first(x.unsqueeze(1)))).flatten(1)


class TestOperations:
    def test_of_a_due_step(self) -> None:
        added = added_kernels(
            lambda: Regression(DeepBatchNorm()), every_fourth(FOUR), max_steps=8
        )
        assert added[1:4] == [*added[5:7], 0] == [0, 0, 0]
        assert 0 < added[0] <= MOST_ADDED, added
        assert 0 < added[4] <= MOST_ADDED, added

    def test_ranges_beside_the_others_add_few(self) -> None:
        """Three operations for all tensors that are joined, and the bins of updates."""

        def added(*kinds: Any) -> int:
            instruments = every_fourth(kinds)
            return added_kernels(
                lambda: Regression(DeepBatchNorm()), instruments, max_steps=5
            )[4]

        alone, together = added(*FOUR), added(*FOUR, NumberRange)
        assert alone < together <= alone + MOST_FOR_RANGES, (alone, together)

    def test_grow_no_faster_than_the_number_of_tensors(self) -> None:
        """A parameter or activation costs about two operations of its own."""
        two, four, six = (
            added_kernels(
                lambda blocks=blocks: Regression(GPT(blocks)),
                every_fourth(FOUR),
                max_steps=5,
            )[4]
            for blocks in (2, 4, 6)
        )
        assert four - two == six - four  # linear
        tensors = 2 * (12 + 1)  # parameters and activations of two blocks
        # PyTorch 2.3 has no norm of many tensors that adds up in float64.
        norms = 0 if TAKES_DTYPE else 2 * 12
        assert four - two <= 2 * tensors + norms, (two, four, six)
        assert four <= 2 * two

    def test_a_second_instrument_of_a_kind_costs_nothing(self) -> None:
        def added(*instruments: Callback) -> int:
            return added_kernels(
                lambda: Regression(tanh_net()), instruments, max_steps=1
            )[0]

        kinds = (ActivationHistogram, GradStats, SaturationMap)
        twice = added(*every_fourth(kinds), *every_fourth(kinds))
        assert twice == added(*every_fourth(kinds))

    def test_none_on_the_cpu_that_the_device_has_not(self) -> None:
        """On the CPU path, steps that are not due are not one operation longer."""

        def kernels(instruments: list[Callback]) -> list[list[str]]:
            counts = StepCounts()
            with counts.counting():
                fit(
                    lambda: Regression(tanh_net()),
                    [counts.begin, *instruments, counts],
                    max_steps=9,
                )
            return counts.kernels

        observed, bare = kernels(every_fourth(FOUR)), kernels([])
        for step in range(9):
            assert (observed[step] == bare[step]) == (step % 4 != 0)


def operations_between_batches(instruments: list[Callback]) -> list[int]:
    """Returns the operations from the begin of each batch to that of the next, all of them."""
    counts: list[int] = []

    class Counting(Callback):
        def on_train_batch_start(self, *_: Any, **__: Any) -> None:
            counts.append(len(operations.names))

    with Operations() as operations:
        fit(
            lambda: Regression(tanh_net()),
            [Counting(), *instruments],
            max_steps=9,
        )
    return [after - before for before, after in pairwise(counts)]


@pytest.mark.parametrize("is_device", [True, False])
def test_steps_that_are_not_due_do_nothing_more(is_device: bool) -> None:
    """No operation, so no tensor that is made, and nothing to wait for."""
    bare = operations_between_batches([])
    if is_device:
        with simulated_device():
            observed = operations_between_batches(every_fourth(FOUR))
    else:
        observed = operations_between_batches(every_fourth(FOUR))
    more = [many > few for many, few in zip(observed, bare, strict=True)]
    assert more == [True, False, False, False] * 2
    assert [n for step, n in enumerate(observed) if step % 4] == [
        n for step, n in enumerate(bare) if step % 4
    ]


class TestTheCounts:
    """The counts of this file, on operations that are known."""

    def reading(self, read: Any) -> StepCounts:
        class Reads(Callback):
            def on_train_batch_end(self, *_: Any, **__: Any) -> None:
                read(torch.ones(3))

        return count_steps(lambda: Regression(tanh_net()), [Reads()], max_steps=1)

    @pytest.mark.parametrize(
        ("read", "name"),
        [
            (lambda x: x.sum().item(), "item"),
            (lambda x: float(x[0]), "__float__"),
            (lambda x: bool(x[0]), "__bool__"),
            (lambda x: x.tolist(), "tolist"),
            (lambda x: x.numpy(), "numpy"),
            (lambda x: x.cpu(), "cpu"),
            (lambda x: x.nonzero(), "nonzero"),
        ],
    )
    def test_waits(self, read: Any, name: str) -> None:
        assert name in self.reading(read).waits[0]
        assert name in READS or name == "nonzero"

    def test_no_waits(self) -> None:
        counts = self.reading(lambda x: (x * 2).sum())
        assert counts.waits == [[]]
        assert counts.kernels[0][-2:] == ["mul", "sum"]

    def test_views_are_no_kernels(self) -> None:
        kernels = self.reading(lambda x: x.view(3, 1).t().detach()[0]).kernels[0]
        assert kernels[-1] == "ones"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@EACH
def test_on_a_gpu_nothing_waits_on_steps_that_are_not_due(kind: Any) -> None:
    class Strict(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
            mode = "error" if trainer.global_step % 4 else "default"
            torch.cuda.set_sync_debug_mode(mode)

        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            torch.cuda.set_sync_debug_mode("default")

    (instrument,) = every_fourth([kind])
    fit(
        lambda: Regression(tanh_net()),
        [instrument, Strict()],
        max_steps=8,
        accelerator="gpu",
        devices=1,
    )
    assert instrument.latest_step == 4  # type: ignore[attr-defined]
