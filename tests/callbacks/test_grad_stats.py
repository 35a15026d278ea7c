"""Tests of GradStats against a plain loop, and of gradients of all kinds."""

import math
from typing import Any

import pytest
import torch
from fits import (
    ByHand,
    Regression,
    expect_close,
    expect_no_hooks,
    fit,
    numbers,
    records_of,
    runtime_warnings,
    tanh_net,
)
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.precision import MixedPrecision
from reference import steps_by_hand
from torch import Tensor, nn
from torch.optim import SGD, Adam

from callbacks import GradStats

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
    ),
]
GRADIENT_PLOTS = (
    *(
        "activation_grad_mean",
        "activation_grad_std",
        "weight_mean",
        "weight_std",
        "weight_grad_mean",
    ),
    *("weight_grad_std", "grad_data_ratio", "grad_norm"),
)


def last_record(make: Any, **options: Any) -> dict[str, Any]:
    """Returns the record of GradStats alone, of the last step of a fit."""
    trainer_options = {
        key: options.pop(key) for key in ("max_steps", "plugins") if key in options
    }
    instrument = GradStats(every_n_steps=1, figures=False, **options)
    fit(make, [instrument], **trainer_options)
    assert instrument.latest is not None
    return instrument.latest


@pytest.mark.parametrize(
    ("micro_batches", "options"),
    [
        (1, {}),
        (
            1,
            {"gradient_clip_val": 1e-3},
        ),  # gradients are those before clipping, the steps are clipped
        (1, {"precision": "64-true"}),
        (5, {"accumulate_grad_batches": 5}),
    ],
    ids=str,
)
def test_against_a_plain_loop(micro_batches: int, options: dict[str, Any]) -> None:
    def clip(params: list[nn.Parameter]) -> None:
        if "gradient_clip_val" in options:
            nn.utils.clip_grad_norm_(params, options["gradient_clip_val"])

    expected = steps_by_hand(tanh_net, 4, micro_batches=micro_batches, clip=clip)
    records = records_of(lambda: Regression(tanh_net()), max_steps=4, **options)
    for step, reference in enumerate(expected):
        expect_close(
            numbers(records[step], *GRADIENT_PLOTS),
            numbers(reference, *GRADIENT_PLOTS),
            rel=2e-5,
        )


@pytest.mark.parametrize(
    "optimizer", [lambda p: Adam(p, fused=False), lambda p: Adam(p, fused=True)]
)
def test_a_gradient_scaler_has_no_effect(optimizer: Any) -> None:
    def record(scaler: torch.amp.GradScaler) -> dict[str, float]:
        plugin = MixedPrecision("16-mixed", "cpu", scaler)
        return numbers(
            last_record(
                lambda: Regression(tanh_net(), optimizer), max_steps=3, plugins=[plugin]
            )
        )

    scaled = record(torch.amp.GradScaler("cpu", init_scale=2.0**12))
    plain = record(torch.amp.GradScaler("cpu", enabled=False))
    expect_close(scaled, plain, rel=2e-2, absolute=1e-5)


class TestOtherGradients:
    """Gradients for an activation that are not those of the loss."""

    def test_a_gradient_penalty(self) -> None:
        class Penalized(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                x = batch[0].clone().requires_grad_()
                (slope,) = torch.autograd.grad(
                    self(x).sum(), x
                )  # goes through every hook
                return super().training_step(batch, batch_idx) + 0 * slope.sum()

        tag = "activation_grad/net.1"
        penalized = last_record(lambda: Penalized(tanh_net()), max_steps=1)[tag]
        assert (
            penalized.moments
            == last_record(lambda: Regression(tanh_net()), max_steps=1)[tag].moments
        )

    def test_in_manual_optimization(self) -> None:
        class Penalized(ByHand):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
                x = batch[0].clone().requires_grad_()
                torch.autograd.grad(self(x).sum(), x)
                super().training_step(batch, batch_idx)

        tag = "activation_grad/net.1"
        penalized = last_record(lambda: Penalized(tanh_net()), max_steps=1)[tag]
        assert (
            penalized.moments
            == last_record(lambda: ByHand(tanh_net()), max_steps=1)[tag].moments
        )


def test_gradients_are_in_forward_order() -> None:
    order = [
        tag
        for tag in last_record(lambda: Regression(tanh_net()))
        if tag.startswith("activation_grad/")
    ]
    assert order == ["activation_grad/net.1", "activation_grad/net.3"]


class ReturnsParameter(nn.Module):
    """Returns a parameter itself, as position tables do."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 4))

    def forward(self) -> Tensor:
        return self.table


def test_no_hook_is_left_on_a_parameter() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.positions, self.head = ReturnsParameter(), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x + self.positions())

    _, module = fit(
        lambda: Regression(Net()),
        [GradStats(every_n_steps=1, figures=False, layers=["*"])],
    )
    expect_no_hooks(module)


class TestEveryKindOfGradient:
    def test_complex(self) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.spectrum, self.head = (
                    nn.Parameter(torch.randn(4, 4, dtype=torch.cfloat)),
                    nn.Linear(4, 1),
                )

            def forward(self, x: Tensor) -> Tensor:
                return self.head((x.to(torch.cfloat) @ self.spectrum).abs())

        class KeepsNorm(Regression):
            norm = 0.0

            def on_before_optimizer_step(self, optimizer: Any) -> None:
                gradients = [param.grad for param in self.parameters()]
                norms = [
                    grad.abs().double().norm().item()
                    for grad in gradients
                    if grad is not None
                ]
                self.norm = math.hypot(*norms)

        instrument = GradStats(every_n_steps=1, figures=False)
        _, module = fit(lambda: KeepsNorm(Net()), [instrument])
        assert instrument.latest is not None
        assert instrument.latest["grad_norm/total"] == pytest.approx(module.norm)  # type: ignore[arg-type]
        assert not [tag for tag in instrument.latest if "spectrum" in tag]

    def test_all_values_are_nan(self) -> None:
        class Breaks(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                return super().training_step(batch, batch_idx) * math.nan

        with runtime_warnings():
            record = last_record(lambda: Breaks(tanh_net()), max_steps=1)
        assert "grad_norm/total" not in record  # and is not zero
        assert record["nonfinite/net.0.weight"] == 32

    def test_sparse(self) -> None:
        class Words(Regression):
            def __init__(self) -> None:
                super().__init__(
                    nn.Sequential(
                        nn.Embedding(30, 4, sparse=True), nn.Tanh(), nn.Linear(4, 1)
                    )
                )

            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                return super().training_step(
                    [batch[0].abs().mul(5).long(), batch[1]], batch_idx
                )

        assert last_record(Words)["weight_grad/net.0.weight"].moments.count == 120

    def test_tied_weights_have_one_name(self) -> None:
        class Tied(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
                self.second.weight = self.first.weight

            def forward(self, x: Tensor) -> Tensor:
                return self.second(torch.tanh(self.first(x)))

        record = last_record(lambda: Regression(Tied()), layers=["*"])
        assert [tag for tag in record if tag.startswith("weight/")] == [
            "weight/net.first.weight"
        ]

    def test_a_layer_called_twice_is_pooled(self) -> None:
        class Twice(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer, self.tanh = nn.Linear(4, 4), nn.Tanh()

            def forward(self, x: Tensor) -> Tensor:
                return self.tanh(self.layer(self.tanh(self.layer(x))))

        record = last_record(lambda: Regression(Twice()))
        assert record["activation_grad/net.tanh"].moments.count == 2 * 8 * 4
        expected = steps_by_hand(Twice, 5)[4]
        expect_close(
            numbers(record, *GRADIENT_PLOTS),
            numbers(expected, *GRADIENT_PLOTS),
            rel=2e-5,
        )

    def test_a_zero_bias_has_no_ratio(self) -> None:
        def with_zero_bias() -> LightningModule:
            module = Regression(tanh_net())
            nn.init.zeros_(module.net[0].bias)  # type: ignore[index]
            return module

        record = last_record(with_zero_bias, params=["net.0.*"], max_steps=1)
        assert "grad_data_ratio/net.0.bias" not in record
        assert "grad_data_ratio/net.0.weight" in record

    def test_nan_is_counted(self) -> None:
        class Breaks(Regression):
            def on_after_backward(self) -> None:
                self.net[0].bias.grad[2] = float("nan")  # type: ignore[index]

        with runtime_warnings() as messages:
            record = last_record(
                lambda: Breaks(tanh_net(), lambda p: SGD(p, lr=0.0)), max_steps=1
            )
        assert messages == [
            "Training diagnostics: NaN or Inf in step 0, first in the gradient of net.0.bias (1 of its values). "
            "Training goes on."
        ]
        assert record["nonfinite/net.0.bias"] == 1.0  # though only matrices have series
        assert record["grad_norm/total"] < float("inf")


class TestFrozenParameters:
    def frozen(self) -> LightningModule:
        module = Regression(tanh_net())
        module.net[0].requires_grad_(False)  # type: ignore[index]
        return module

    def test_are_written_once(self) -> None:
        records = records_of(self.frozen)
        assert {
            "weight/net.0.weight",
            "weight_mean/net.0.weight",
            "weight_std/net.0.weight",
        } <= set(records[0])
        for step in range(1, 5):
            assert not [tag for tag in records[step] if "net.0." in tag]
            assert "weight_std/net.2.weight" in records[step]

    def test_at_the_first_due_step_of_each_fit(self) -> None:
        instrument = GradStats(every_n_steps=2, dense_start=False, figures=False)
        for _ in range(2):
            fit(self.frozen, [instrument], max_steps=1)
            assert "weight_std/net.0.weight" in (instrument.latest or {})

    def test_a_parameter_that_is_frozen_while_it_trains(self) -> None:
        class Freezes(Regression):
            def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
                self.net[2].requires_grad_(batch_idx < 2)  # type: ignore[index]

        records = records_of(lambda: Freezes(tanh_net()))
        # Step 2 is measured before the model freezes the parameter, step 3 is the first of the frozen one.
        assert [
            step for step in range(5) if "weight_std/net.2.weight" in records[step]
        ] == [0, 1, 2, 3]

    def test_all_other_numbers_are_those_of_a_plain_loop(self) -> None:
        def net() -> nn.Module:
            net = tanh_net()
            net[0].requires_grad_(False)
            return net

        expected = steps_by_hand(net, 3)
        records = records_of(lambda: Regression(net()), max_steps=3)
        for step in range(3):
            reference = {
                tag: value
                for tag, value in expected[step].items()
                if not step or "net.0.weight" not in tag
            }
            expect_close(numbers(records[step]), reference, rel=2e-5, absolute=1e-6)


@pytest.mark.parametrize("size", [1e-20, 1e3])
def test_the_total_norm_is_that_of_all_parameters(size: float) -> None:
    class Scaled(Regression):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * size

    record = last_record(
        lambda: Scaled(tanh_net()), max_steps=1, params=["net.4.weight"]
    )
    expected = steps_by_hand(tanh_net, 1)[0]["grad_norm/total"]
    assert record["grad_norm/total"] == pytest.approx(expected * size, rel=1e-5)
