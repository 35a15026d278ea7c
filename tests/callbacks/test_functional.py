"""Tests of activation functions, `F.relu(x)`, `torch.tanh(x)` or `x.sigmoid()`, in fits with all instruments."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fits import (
    ByHand,
    Regression,
    every_step,
    expect_close,
    expect_no_hooks,
    fit,
    numbers,
    records_of,
    runtime_warnings,
    tanh_net,
)
from reference import steps_by_hand
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from callbacks import ActivationHistogram, GradStats, SaturationMap

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


class Block(nn.Module):
    """Calls one function twice."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.linear(torch.tanh(x)))


class Functional(nn.Module):
    """Calls functions of torch, of torch.nn.functional and methods of tensors, and has one activation module."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.block, self.act, self.head = (
            nn.Linear(4, 8),
            Block(),
            nn.Sigmoid(),
            nn.Linear(8, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.block(F.relu(self.first(x)))
        return self.head(F.leaky_relu(self.act(h).sigmoid()))


NAMES = [
    "net.relu",
    "net.block.tanh",
    "net.block.tanh_1",
    "net.act",
    "net.sigmoid",
    "net.leaky_relu",
]


@pytest.mark.parametrize(
    ("micro_batches", "options"),
    [(1, {}), (5, {"accumulate_grad_batches": 5}), (1, {"precision": "64-true"})],
    ids=str,
)
def test_all_numbers_are_those_of_a_plain_loop(
    micro_batches: int, options: dict[str, Any]
) -> None:
    expected = steps_by_hand(Functional, 3, micro_batches=micro_batches)
    records = records_of(lambda: Regression(Functional()), max_steps=3, **options)
    for step, reference in enumerate(expected):
        expect_close(numbers(records[step]), reference, rel=1e-4, absolute=1e-6)


def test_names_and_their_order() -> None:
    instrument = ActivationHistogram(every_n_steps=1)
    fit(lambda: Regression(Functional()), [instrument])
    order = [
        tag.partition("/")[2]
        for tag in instrument.latest or {}
        if tag.startswith("activation/")
    ]
    assert order == NAMES


def test_saturation_of_functions_that_saturate() -> None:
    instrument = SaturationMap(every_n_steps=1)
    fit(lambda: Regression(Functional()), [instrument])
    layers = [
        tag.partition("/")[2]
        for tag in instrument.latest or {}
        if tag.startswith("saturation/")
    ]
    assert layers == [name for name in NAMES if "leaky" not in name]


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("net.block.*", ["net.block.linear", "net.block.tanh", "net.block.tanh_1"]),
        ("tanh", ["net.block.tanh", "net.block.tanh_1"]),
        ("Tanh", ["net.block.tanh", "net.block.tanh_1"]),
        ("*.tanh_1", ["net.block.tanh_1"]),
        ("net.relu", ["net.relu"]),
        ("Sigmoid", ["net.act", "net.sigmoid"]),
    ],
)
def test_patterns_choose_functions(pattern: str, chosen: list[str]) -> None:
    instrument = ActivationHistogram(every_n_steps=1, layers=[pattern])
    fit(lambda: Regression(Functional()), [instrument], max_steps=2)
    names = [
        tag.partition("/")[2]
        for tag in instrument.latest or {}
        if tag.startswith("activation/")
    ]
    assert sorted(names) == sorted(chosen)


class OnlyFunctions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(4, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.first(x)))


def test_leaf_layers_are_left_out_where_functions_are_called() -> None:
    with runtime_warnings() as messages:
        records = records_of(lambda: Regression(OnlyFunctions()))
    assert messages == []
    for record in records.values():
        layers = {
            tag.partition("/")[2]
            for tag in record
            if tag.startswith(("activation", "saturation", "dead"))
        }
        assert layers == {"net.relu"}


def test_a_call_without_gradients_is_not_observed() -> None:
    class WithTeacher(Regression):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            with torch.no_grad():
                self(batch[0] * 100)
            return super().training_step(batch, batch_idx)

    observed = records_of(lambda: WithTeacher(OnlyFunctions()), max_steps=2)
    plain = records_of(lambda: Regression(OnlyFunctions()), max_steps=2)
    for step in range(2):
        expect_close(numbers(observed[step]), numbers(plain[step]))


class Checkpointed(nn.Module):
    """Calls a function inside activation checkpointing."""

    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.first, self.block, self.head, self.reentrant = (
            nn.Linear(4, 8),
            Block(),
            nn.Linear(8, 1),
            reentrant,
        )

    def forward(self, x: Tensor) -> Tensor:
        h: Any = self.first(x)
        if self.reentrant is None:
            return self.head(self.block(h))
        return self.head(checkpoint(self.block, h, use_reentrant=self.reentrant))


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_counts_every_call_once(reentrant: bool) -> None:
    plain = records_of(lambda: Regression(Checkpointed(None)), max_steps=3)
    checkpointed = records_of(lambda: Regression(Checkpointed(reentrant)), max_steps=3)
    for step in range(3):
        expect_close(numbers(checkpointed[step]), numbers(plain[step]))


def test_a_module_called_twice_is_pooled_by_function() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.head = Block(), nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.block(self.block(torch.cat([x, x], 1))))

    record = records_of(lambda: Regression(Twice()), max_steps=1)[0]
    for name in ("net.block.tanh", "net.block.tanh_1"):
        assert record[f"activation/{name}"].moments.count == 2 * 8 * 8
    assert "activation/net.block.tanh_2" not in record


def test_in_manual_optimization() -> None:
    record = records_of(lambda: ByHand(OnlyFunctions()), max_steps=2)[1]
    expected = steps_by_hand(OnlyFunctions, 2, automatic=False)[1]
    expect_close(numbers(record), expected, rel=1e-4, absolute=1e-6)


def test_no_mode_is_left_after_an_exception() -> None:
    class Fails(Regression):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            if batch_idx == 1:
                raise KeyError("model")
            return loss

    module = Fails(OnlyFunctions())
    with pytest.raises(KeyError):
        fit(lambda: module, every_step(figures=False))
    expect_no_hooks(module)


def test_a_function_in_a_training_step_belongs_to_the_model() -> None:
    class Squashes(Regression):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return torch.tanh(super().training_step(batch, batch_idx))

    instruments = [
        GradStats(every_n_steps=1, figures=False),
        ActivationHistogram(every_n_steps=1, figures=False),
    ]
    fit(lambda: Squashes(tanh_net()), instruments, max_steps=1)
    assert "activation_grad/tanh" in (instruments[0].latest or {})
    assert (instruments[1].latest or {})["activation/tanh"].moments.count == 1  # type: ignore[union-attr]


def test_many_functions_are_reduced() -> None:
    """About 64 functions are observed at most, so that a loop of them cannot fill the charts."""

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(100):
                x = torch.tanh(x)
            return self.head(x)

    record = records_of(lambda: Regression(Loop()), max_steps=1)[0]
    assert 64 <= sum(tag.startswith("activation/") for tag in record) <= 66
