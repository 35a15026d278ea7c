"""Tests of modules of all shapes: tuples, checkpointing, parametrizations, transforms, lazy and replaced layers."""

import copy
from typing import Any

import pytest
import torch
from fits import (
    Recorder,
    Regression,
    as_lists,
    every_step,
    expect_close,
    expect_messages,
    expect_no_hooks,
    fit,
    loader,
    numbers,
    records_of,
    runtime_warnings,
    tanh_net,
)
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

from callbacks import ActivationHistogram

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_counts_nothing_twice(reentrant: bool) -> None:
    class Net(nn.Module):
        def __init__(self, saves_memory: bool) -> None:
            super().__init__()
            self.first = nn.Linear(4, 8)
            self.block = nn.Sequential(
                nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh()
            )
            self.head, self.saves_memory = nn.Linear(8, 1), saves_memory

        def forward(self, x: Tensor) -> Tensor:
            h: Any = self.first(x)
            for _ in range(2):
                h = (
                    checkpoint(self.block, h, use_reentrant=reentrant)
                    if self.saves_memory
                    else self.block(h)
                )
            return self.head(h)

    plain = records_of(lambda: Regression(Net(False)), ["*"], max_steps=3)
    checkpointed = records_of(lambda: Regression(Net(True)), ["*"], max_steps=3)
    for step in range(3):
        expect_close(numbers(checkpointed[step]), numbers(plain[step]))
        for tag, value in plain[step].items():
            if not isinstance(value, float):
                assert checkpointed[step][tag].counts.tolist() == value.counts.tolist()


def test_attention_and_its_tuples() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.head = (
                nn.MultiheadAttention(4, 2, batch_first=True),
                nn.Linear(4, 1),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.attention(x, x, x)[0])

    record = records_of(lambda: Regression(Net()), ["*"], data=loader((6, 4)))[0]
    assert record["activation/net.attention.0"].moments.count == 8 * 6 * 4
    assert (
        record["activation/net.attention.1"].moments.count == 8 * 6 * 6
    )  # the weights
    assert (
        "activation/net.attention.out_proj" not in record
    )  # is never called as a module


def test_an_output_and_a_child_of_one_name() -> None:
    """A tuple of a container whose children are called "0" and "1"."""

    class Pair(nn.Sequential):
        def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # noqa: A002
            return self[0](input), self[1](input)[:, :2]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair, self.head = (
                Pair(nn.Linear(4, 3), nn.Linear(4, 5)),
                nn.Linear(5, 1),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cat(self.pair(x), 1))

    record = records_of(lambda: Regression(Net()), ["net.pair*"])[0]
    counts = {
        tag.partition("/")[2]: v.moments.count
        for tag, v in record.items()
        if tag.startswith("activation/")
    }
    assert counts == {
        "net.pair.0": 24,
        "net.pair.1": 40,
        "net.pair[0]": 24,
        "net.pair[1]": 16,
    }


def test_parametrizations() -> None:
    net = nn.Sequential(weight_norm(nn.Linear(4, 4)), nn.Tanh(), nn.Linear(4, 1))
    assert (
        "update_ratio/net.0.parametrizations.weight.original1"
        in records_of(lambda: Regression(net))[0]
    )


class CalledWithEmptyBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = tanh_net()

    def forward(self, x: Tensor) -> Tensor:
        self.net(x[:0])
        return self.net(x)


def test_an_empty_batch_beside_a_full_one() -> None:
    record = records_of(lambda: Regression(CalledWithEmptyBatch()))[0]
    assert record["activation/net.net.1"].moments.count == 64
    assert record["dead_units/net.net.1"] == 0.0


def test_only_empty_batches() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.tanh, self.head = (
                nn.Linear(4, 4),
                nn.Tanh(),
                nn.Linear(4, 1),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x) + self.tanh(self.layer(x[:0])).sum()

    assert not [
        tag for tag in records_of(lambda: Regression(Net()))[0] if "net.tanh" in tag
    ]


class TestTransforms:
    """Layers called inside torch.func: a penalty on a gradient, or a loss for each example."""

    def test_inside_grad(self) -> None:
        class Penalized(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                slope = torch.func.grad(lambda x: self.net(x).sum())(batch[0])
                return super().training_step(batch, batch_idx) + slope.square().mean()

        penalized = records_of(lambda: Penalized(tanh_net()), max_steps=2)
        plain = records_of(lambda: Regression(tanh_net()), max_steps=2)
        for plots in (
            ("activation_mean", "activation"),
            ("saturation_mean", "saturation"),
        ):
            # Each layer is called twice with the same batch.
            expect_close(numbers(penalized[0], *plots), numbers(plain[0], *plots))
        assert (
            penalized[0]["activation/net.1"].moments.count
            == 2 * plain[0]["activation/net.1"].moments.count
        )

    def test_inside_vmap(self) -> None:
        class PerExample(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                return torch.func.vmap(lambda x: self.net(x).square().mean())(
                    batch[0]
                ).mean()

        with runtime_warnings() as messages:
            record = records_of(lambda: PerExample(tanh_net()), max_steps=2)[0]
        inside = r"of the output of net\.1, output of net\.3 failed in step 0.*inside torch\.func\.vmap"
        expect_messages(messages, f"histogram {inside}", f"saturation {inside}")
        assert "activation_mean/net.1" not in record
        assert "update_ratio/net.0.weight" in record


def test_a_copy_made_in_the_middle_of_a_step() -> None:
    class CopiesItself(Regression):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            copy.deepcopy(self.net)(batch[0])
            return super().training_step(batch, batch_idx)

    assert (
        records_of(lambda: CopiesItself(tanh_net()))[0][
            "activation/net.1"
        ].moments.count
        == 64
    )


def test_lazy_layers() -> None:
    class Lazy(Regression):
        def __init__(self) -> None:
            super().__init__(
                nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(1))
            )

    records = records_of(Lazy, max_steps=3)
    assert "update_ratio/net.0.weight" not in records[0]  # had no value before
    assert "update_ratio/net.0.weight" in records[2]
    assert "weight_std/net.0.weight" in records[2]
    assert not [tag for tag in records[2] if "bias" in tag]


class TestReplacedLayers:
    """Layers and parameters that are replaced, added or wrapped while a model trains."""

    def test_a_replaced_layer(self) -> None:
        class Replaces(Regression):
            def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
                if batch_idx == 2:
                    self.net[1] = nn.ReLU()  # type: ignore[index]

        records = records_of(lambda: Replaces(tanh_net()))
        assert records[1]["activation/net.1"].moments.low < 0
        for step in (3, 4):
            assert records[step]["activation/net.1"].moments.low == 0
            assert records[step]["saturation/net.1"] > 0

    def test_a_replaced_parameter(self) -> None:
        class Prunes(Callback):
            def on_train_batch_end(
                self, trainer: Any, pl_module: Any, *_: Any, **__: Any
            ) -> None:
                if trainer.global_step == 2:
                    layer, optimizer = pl_module.net[2], trainer.optimizers[0]
                    layer.weight = nn.Parameter(layer.weight.detach() * 2)
                    optimizer.add_param_group({"params": [layer.weight], "lr": 0.1})

        recorder = Recorder()
        fit(
            lambda: Regression(tanh_net()),
            [*every_step(figures=False), recorder, Prunes()],
        )
        updates, gradients = (
            recorder.records["UpdateRatio"],
            recorder.records["GradStats"],
        )
        for step in range(5):
            assert "update_ratio/net.2.weight" in updates[step]
            assert "weight_grad_std/net.2.weight" in gradients[step]
        spread = [gradients[step]["weight_std/net.2.weight"] for step in range(5)]
        assert spread[2] / spread[1] == pytest.approx(2, rel=0.05)

    def test_an_added_layer(self) -> None:
        class Grows(Regression):
            def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
                if batch_idx == 2:
                    self.net.append(nn.Tanh())  # type: ignore[operator]

        records = records_of(lambda: Grows(tanh_net()))
        assert "activation/net.5" not in records[1]
        assert "activation/net.5" in records[3]

    def test_no_hook_is_left_on_a_layer_that_was_replaced_in_a_step(self) -> None:
        replaced: list[nn.Module] = []

        class Replaces(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                loss = super().training_step(batch, batch_idx)
                replaced.append(self.net[1])  # type: ignore[index]
                self.net[1] = nn.Tanh()  # type: ignore[index]
                return loss

        _, module = fit(
            lambda: Replaces(tanh_net()), [ActivationHistogram(every_n_steps=1)]
        )
        assert len(replaced) == 5
        for layer in (*replaced, module):
            expect_no_hooks(layer)


def test_a_layer_called_with_keywords() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act, self.head = (
                nn.Linear(4, 8),
                nn.GELU(),
                nn.Linear(8, 1),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.act(input=self.layer(input=x)))

    class Positional(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.act(self.layer(x)))

    keywords, positional = (
        records_of(lambda net=net: Regression(net()), max_steps=2)
        for net in (Net, Positional)
    )
    assert as_lists(keywords) == as_lists(positional)
    assert "saturation/net.act" in keywords[0]
