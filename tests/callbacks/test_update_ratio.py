"""Tests of UpdateRatio: the true change of the parameters, recomputed in float64 from copies, and its absence."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fits import (
    QUIET,
    Regression,
    expect_close,
    expect_messages,
    fit,
    loader,
    numbers,
    records_of,
    runtime_warnings,
    tanh_net,
)
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from reference import steps_by_hand
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from callbacks import UpdateRatio
from callbacks.probe.unmoved import is_rounded

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
    ),
]


class Copies(Callback):
    """Copies parameters around every step, by hooks of its own, and keeps the records of UpdateRatio."""

    def __init__(self, updates: UpdateRatio) -> None:
        self.updates, self.before = updates, {}
        self.expected: list[dict[str, float]] = []
        self.records: list[dict[str, Any]] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        if not self.before:
            self.before = {
                name: p.detach().double().clone()
                for name, p in pl_module.named_parameters()
            }

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        if self.updates.latest_step is None or self.updates.latest_step < len(
            self.records
        ):
            return  # in the middle of an accumulation
        ratios = {}
        for name, param in pl_module.named_parameters():
            if param.ndim >= 2:
                after = param.detach().double()
                change = (after - self.before[name]).std().item()
                ratios[f"update_ratio/{name}"] = math.log10(change / after.std().item())
        self.expected.append(ratios)
        self.records.append(dict(self.updates.latest or {}))
        self.before = {}


OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "SGD with momentum and weight decay": lambda p: SGD(
        p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01
    ),
    "AdamW": lambda p: AdamW(p, lr=0.01, weight_decay=0.1),
    "Adam fused": lambda p: Adam(p, lr=0.01, fused=True),
    "Adam foreach": lambda p: Adam(p, lr=0.01, foreach=True),
    "Adam with amsgrad": lambda p: Adam(p, lr=0.01, amsgrad=True),
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3),
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"gradient_clip_val": 0.01},
    {"gradient_clip_val": 0.001, "gradient_clip_algorithm": "value"},
    {"accumulate_grad_batches": 2},
    {"precision": "64-true"},
    {"precision": "bf16-mixed"},
    {"precision": "bf16-true"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_is_the_true_change(optimizer: str, options: dict[str, Any]) -> None:
    updates = UpdateRatio(every_n_steps=1, figures=False)
    copies = Copies(updates)
    # Five batches: with accumulation, the last window of the epoch is a short one.
    fit(
        lambda: Regression(tanh_net(), OPTIMIZERS[optimizer]),
        [updates, copies],
        max_steps=6,
        **options,
    )
    assert len(copies.records) == 6
    for record, expected in zip(copies.records, copies.expected, strict=True):
        assert record == {
            tag: pytest.approx(ratio, abs=2e-6) for tag, ratio in expected.items()
        }
        assert len(record) == 3


@pytest.mark.parametrize(
    ("options", "clip"),
    [
        ({}, lambda _: None),
        (
            {"gradient_clip_val": 0.01},
            lambda params: nn.utils.clip_grad_norm_(params, 0.01),
        ),
        (
            {"gradient_clip_val": 0.001, "gradient_clip_algorithm": "value"},
            lambda params: nn.utils.clip_grad_value_(params, 0.001),
        ),
    ],
    ids=["plain", "norm", "value"],
)
@pytest.mark.parametrize("optimizer", ["SGD with momentum and weight decay", "AdamW"])
def test_against_a_plain_loop(
    optimizer: str, options: dict[str, Any], clip: Callable[..., Any]
) -> None:
    expected = steps_by_hand(tanh_net, 4, optimizer=OPTIMIZERS[optimizer], clip=clip)
    records = records_of(
        lambda: Regression(tanh_net(), OPTIMIZERS[optimizer]), max_steps=4, **options
    )
    for step, reference in enumerate(expected):
        expect_close(
            numbers(records[step], "update_ratio"),
            numbers(reference, "update_ratio"),
            absolute=2e-4,
        )


class TestUnmoved:
    """Parameters without an update have no ratio, and a reason."""

    def test_a_frozen_parameter(self) -> None:
        def frozen() -> LightningModule:
            module = Regression(tanh_net())
            module.net[0].requires_grad_(False)  # type: ignore[index]
            return module

        updates = UpdateRatio(every_n_steps=1)
        fit(frozen, [updates])
        assert updates.unmoved == {"net.0.weight": "no gradient"}
        assert updates.latest is not None
        assert set(updates.latest) == {
            "update_ratio/net.2.weight",
            "update_ratio/net.4.weight",
        }

    def test_a_gradient_of_zero(self) -> None:
        class LossWithoutGradient(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                return super().training_step(batch, batch_idx) * 0

        updates = UpdateRatio(every_n_steps=1)
        fit(lambda: LossWithoutGradient(tanh_net()), [updates])
        assert set(updates.unmoved.values()) == {"zero gradient"}
        assert updates.latest == {}

    def test_a_gradient_clipped_to_zero(self) -> None:
        class Clips(Regression):
            def configure_gradient_clipping(
                self, optimizer: Optimizer, *_: Any, **__: Any
            ) -> None:  # type: ignore[override]
                for param in self.parameters():
                    assert param.grad is not None
                    param.grad.zero_()

        updates = UpdateRatio(every_n_steps=1)
        fit(lambda: Clips(tanh_net()), [updates], gradient_clip_val=1.0)
        assert set(updates.unmoved.values()) == {"zero gradient"}

    @pytest.mark.parametrize(
        "optimizer",
        [lambda p: SGD(p, lr=1e-9), lambda p: AdamW(p, lr=1e-7, weight_decay=0)],
    )
    def test_an_update_rounded_to_zero_is_warned_of_once(self, optimizer: Any) -> None:
        updates = UpdateRatio(every_n_steps=1, figures=False)
        with runtime_warnings() as messages:
            fit(
                lambda: Regression(tanh_net(), optimizer),
                [updates],
                precision="bf16-true",
            )
        expect_messages(messages, "^UpdateRatio.* rounded to zero .*type in step 0")
        assert all(f"net.{index}.weight" in messages[0] for index in (0, 2, 4))
        assert set(updates.unmoved.values()) == {"rounded to zero"}
        assert updates.latest == {}

    @pytest.mark.parametrize("fused", [False, True])
    def test_a_step_that_the_scaler_skips(self, fused: bool) -> None:
        class Overflows(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                loss = super().training_step(batch, batch_idx)
                return loss * float("inf") if self.trainer.global_step == 2 else loss

        updates = UpdateRatio(every_n_steps=1, figures=False)
        steps: dict[int, tuple[set[str], set[str]]] = {}

        class Keeps(Callback):
            def on_train_batch_end(self, *_: Any, **__: Any) -> None:
                assert updates.latest is not None
                assert updates.latest_step is not None
                steps[updates.latest_step] = (
                    set(updates.latest),
                    set(updates.unmoved.values()),
                )

        scaler = MixedPrecision(
            "16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0)
        )
        fit(
            lambda: Overflows(tanh_net(), lambda p: Adam(p, fused=fused)),
            [updates, Keeps()],
            plugins=[scaler],
        )
        assert steps[2] == (set(), {"skipped by the gradient scaler"})
        assert all(
            len(steps[step][0]) == 3 and not steps[step][1] for step in (0, 1, 3, 4)
        )

    def test_a_rate_of_zero_and_a_parameter_without_optimizer(self) -> None:
        def warmup() -> LightningModule:
            module = Regression(tanh_net())
            layers: Any = module.net
            groups = [
                {"params": [layers[0].weight], "lr": 0.0},
                {"params": [layers[2].weight], "lr": 0.1},
            ]
            module.make_optimizer = lambda _: SGD(groups)
            return module

        updates = UpdateRatio(every_n_steps=1, figures=False)
        with runtime_warnings() as messages:
            fit(warmup, [updates])
        assert updates.unmoved == {
            "net.0.weight": "learning rate zero",
            "net.4.weight": "no step",
        }
        assert messages == []

    def test_one_element_and_no_spread(self) -> None:
        class Scaled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer, self.scale = nn.Linear(4, 1), nn.Parameter(torch.ones(1))

            def forward(self, x: Tensor) -> Tensor:
                return self.layer(x) * self.scale

        updates = UpdateRatio(every_n_steps=1, params=["*"])
        fit(lambda: Regression(Scaled()), [updates])
        assert updates.unmoved == {
            "net.scale": "no spread",
            "net.layer.bias": "no spread",
        }

    def test_a_step_that_moves_nothing_for_another_reason(self) -> None:
        class Idle(SGD):
            def step(self, closure: Any = None) -> Any:  # type: ignore[override]
                return closure()

        updates = UpdateRatio(every_n_steps=1, figures=False)
        fit(lambda: Regression(tanh_net(), lambda p: Idle(p, lr=0.1)), [updates])
        assert set(updates.unmoved.values()) == {"did not move"}


@pytest.mark.parametrize(
    ("change", "magnitude", "dtype", "expected"),
    [
        (1e-4, 1.0, torch.bfloat16, True),
        (1e-2, 1.0, torch.bfloat16, False),
        (1e-4, 1e-3, torch.bfloat16, False),
        (1e-9, 1.0, torch.float32, True),
        (1e-6, 1.0, torch.float32, False),
        (1e-9, 1.0, torch.float64, False),
        (1e-30, 0.0, torch.bfloat16, False),
    ],
)
def test_is_rounded(
    change: float, magnitude: float, dtype: torch.dtype, expected: bool
) -> None:
    number = torch.tensor(magnitude, dtype=dtype)
    assert is_rounded(change, magnitude, dtype) == expected
    if magnitude:
        assert (
            bool(number + torch.tensor(change, dtype=torch.float64).to(dtype) == number)
            == expected
        )


def test_nan_is_counted_and_the_finite_values_are_measured() -> None:
    class Breaks(Regression):
        def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
            if self.trainer.global_step == 2:
                self.net[2].weight.grad[0, 0] = float("nan")  # type: ignore[index]

    updates = UpdateRatio(every_n_steps=1, figures=False)
    with runtime_warnings() as messages:
        fit(lambda: Breaks(tanh_net()), [updates], max_steps=3)
    expect_messages(
        messages,
        r"NaN or Inf in step 2, first in the .*net\.2\.weight.* \(1 of its values\)",
    )
    assert updates.latest is not None
    assert updates.latest["nonfinite/net.2.weight"] == 1.0
    assert math.isfinite(updates.latest["update_ratio/net.2.weight"])  # type: ignore[arg-type]
    assert [tag for tag in updates.latest if tag.startswith("nonfinite")] == [
        "nonfinite/net.2.weight"
    ]


def test_the_lines_go_on_from_a_checkpoint(tmp_path: Any) -> None:
    whole = UpdateRatio(every_n_steps=2, figures=False)
    fit(lambda: Regression(tanh_net()), [whole], max_steps=12)
    first, second = (
        UpdateRatio(every_n_steps=2, figures=False),
        UpdateRatio(every_n_steps=2, figures=False),
    )
    trainer, _ = fit(lambda: Regression(tanh_net()), [first], max_steps=5)
    trainer.save_checkpoint(tmp_path / "five.ckpt")
    again = Trainer(callbacks=[second], max_steps=12, **QUIET)
    again.fit(
        Regression(tanh_net()),
        loader(),
        ckpt_path=tmp_path / "five.ckpt",
        weights_only=True,
    )
    resumed = second.state_dict()
    assert resumed["steps"] == [0, 1, 2, 4, 6, 8, 10, 11]
    assert whole.state_dict()["steps"] == resumed["steps"]
    # From there on the loader returns other batches, so only the first points can be compared.
    assert {
        name: line[:4] for name, line in resumed["ratios"].items()
    } == first.state_dict()["ratios"]
    assert all(None not in line for line in resumed["ratios"].values())


def test_the_lines_stay_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callbacks.update_ratio.MOST_POINTS", 6)
    updates = UpdateRatio(every_n_steps=1, figures=False)
    fit(lambda: Regression(tanh_net()), [updates], max_steps=20)
    state = updates.state_dict()
    assert len(state["steps"]) <= 6
    assert {len(line) for line in state["ratios"].values()} == {len(state["steps"])}
    assert state["steps"][0] == 0


def test_one_point_is_no_picture() -> None:
    """A picture of dots at step 0 would tell nothing."""
    pictures: list[int] = []

    class Keeps(UpdateRatio):
        def plots(self, measurements: Any) -> Any:
            plots = super().plots(measurements)
            pictures.append(len(plots))
            return plots

    class Draws(Callback):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            updates.plots(updates.measurements)  # type: ignore[attr-defined]

    updates = Keeps(every_n_steps=1)
    original = updates.record

    def record(measurements: Any) -> Any:
        updates.measurements = measurements  # type: ignore[attr-defined]
        return original(measurements)

    updates.record = record  # type: ignore[method-assign]
    fit(lambda: Regression(tanh_net()), [updates, Draws()], max_steps=3)
    assert pictures[:3] == [0, 1, 1]
