"""The true update, whatever made it: recomputed in double precision from copies of the parameters."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fits import QUIET, Regression, fit, loader, runtime_warnings, tanh_net
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from callbacks import UpdateRatio

pytestmark = pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")


class Copies(Callback):
    """Takes copies around every step, by hooks of its own, and keeps what UpdateRatio said of it."""

    def __init__(self, updates: UpdateRatio) -> None:
        self.updates, self.before = updates, {}
        self.expected: list[dict[str, float]] = []
        self.said: list[dict[str, Any]] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        if not self.before:
            self.before = {name: p.detach().double().clone() for name, p in pl_module.named_parameters()}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        if self.updates.latest_step is None or self.updates.latest_step < len(self.said):
            return  # in the middle of an accumulation
        found = {}
        for name, param in pl_module.named_parameters():
            if param.ndim >= 2:
                after = param.detach().double()
                change = (after - self.before[name]).std().item()
                found[f"update_ratio/{name}"] = math.log10(change / after.std().item())
        self.expected.append(found)
        self.said.append(dict(self.updates.latest or {}))
        self.before = {}


OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "SGD with momentum and weight decay": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
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
def test_is_the_true_one(optimizer: str, options: dict[str, Any]) -> None:
    updates = UpdateRatio(every_n_steps=1, figures=False)
    copies = Copies(updates)
    # Five batches: with accumulation, the last window of the epoch is a short one.
    fit(lambda: Regression(tanh_net(), OPTIMIZERS[optimizer]), [updates, copies], max_steps=6, **options)
    assert len(copies.said) == 6
    for said, expected in zip(copies.said, copies.expected, strict=True):
        assert said == {tag: pytest.approx(ratio, abs=2e-6) for tag, ratio in expected.items()}
        assert len(said) == 3


class TestWhatDidNotMove:
    def test_a_frozen_parameter(self) -> None:
        def frozen() -> LightningModule:
            module = Regression(tanh_net())
            module.net[0].requires_grad_(False)  # type: ignore[index]
            return module

        updates = UpdateRatio(every_n_steps=1)
        fit(frozen, [updates])
        assert updates.unmoved == {"net.0.weight": "no gradient"}
        assert updates.latest is not None
        assert set(updates.latest) == {"update_ratio/net.2.weight", "update_ratio/net.4.weight"}

    def test_a_gradient_of_zero(self) -> None:
        class Deaf(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                return super().training_step(batch, batch_idx) * 0

        updates = UpdateRatio(every_n_steps=1)
        fit(lambda: Deaf(tanh_net()), [updates])
        assert set(updates.unmoved.values()) == {"zero gradient"}
        assert updates.latest == {}

    def test_an_update_rounded_to_zero_is_warned_of_once(self) -> None:
        updates = UpdateRatio(every_n_steps=1, figures=False)
        with runtime_warnings() as warned:
            fit(lambda: Regression(tanh_net(), lambda p: SGD(p, lr=1e-9)), [updates], precision="bf16-true")
        (said,) = warned
        assert "rounds to zero, in step 0, of net.0.weight, net.2.weight, net.4.weight" in said
        assert set(updates.unmoved.values()) == {"rounded to zero"}
        assert updates.latest == {}

    @pytest.mark.parametrize("fused", [False, True])
    def test_a_step_that_the_scaler_skips(self, fused: bool) -> None:
        class Overflows(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                loss = super().training_step(batch, batch_idx)
                return loss * float("inf") if self.trainer.global_step == 2 else loss

        updates = UpdateRatio(every_n_steps=1, figures=False)
        said: dict[int, tuple[set[str], set[str]]] = {}

        class Keeps(Callback):
            def on_train_batch_end(self, *_: Any, **__: Any) -> None:
                assert updates.latest is not None
                assert updates.latest_step is not None
                said[updates.latest_step] = (set(updates.latest), set(updates.unmoved.values()))

        scaler = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0))
        fit(
            lambda: Overflows(tanh_net(), lambda p: Adam(p, fused=fused)),
            [updates, Keeps()],
            plugins=[scaler],
        )
        assert said[2] == (set(), {"skipped by the gradient scaler"})
        assert all(len(said[step][0]) == 3 and not said[step][1] for step in (0, 1, 3, 4))

    def test_a_rate_of_zero_and_what_no_optimizer_has(self) -> None:
        def warmup() -> LightningModule:
            module = Regression(tanh_net())
            module.make_optimizer = lambda _: SGD(
                [{"params": [module.net[0].weight], "lr": 0.0}, {"params": [module.net[2].weight], "lr": 0.1}]  # type: ignore[index]
            )
            return module

        updates = UpdateRatio(every_n_steps=1, figures=False)
        with runtime_warnings() as warned:
            fit(warmup, [updates])
        assert updates.unmoved == {"net.0.weight": "learning rate zero", "net.4.weight": "no step"}
        assert warned == []

    def test_one_element_and_what_has_no_spread(self) -> None:
        class Scaled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer, self.scale = nn.Linear(4, 1), nn.Parameter(torch.ones(1))

            def forward(self, x: Tensor) -> Tensor:
                return self.layer(x) * self.scale

        updates = UpdateRatio(every_n_steps=1, params=["*"])
        fit(lambda: Regression(Scaled()), [updates])
        assert updates.unmoved == {"net.scale": "no spread", "net.layer.bias": "no spread"}


def test_nan_is_counted_and_the_rest_measured() -> None:
    class Breaks(Regression):
        def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
            if self.trainer.global_step == 2:
                self.net[2].weight.grad[0, 0] = float("nan")  # type: ignore[index]

    updates = UpdateRatio(every_n_steps=1, figures=False)
    with runtime_warnings() as warned:
        fit(lambda: Breaks(tanh_net()), [updates], max_steps=3)
    assert warned == ["UpdateRatio saw NaN or Inf in step 2, first at net.2.weight (1 of them). Training goes on."]
    assert updates.latest is not None
    assert updates.latest["nonfinite/net.2.weight"] == 1.0
    assert math.isfinite(updates.latest["update_ratio/net.2.weight"])  # type: ignore[arg-type]
    assert [tag for tag in updates.latest if tag.startswith("nonfinite")] == ["nonfinite/net.2.weight"]


def test_copies_are_released() -> None:
    updates = UpdateRatio(every_n_steps=1, figures=False)
    held: list[int] = []

    class Looks(Callback):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            held.append(len(updates._before))

    fit(lambda: Regression(tanh_net()), [updates, Looks()])
    assert held == [0] * 5


def test_the_lines_go_on_where_a_checkpoint_left_them(tmp_path: Any) -> None:
    whole = UpdateRatio(every_n_steps=2, figures=False)
    fit(lambda: Regression(tanh_net()), [whole], max_steps=12)
    first, second = UpdateRatio(every_n_steps=2, figures=False), UpdateRatio(every_n_steps=2, figures=False)
    trainer, _ = fit(lambda: Regression(tanh_net()), [first], max_steps=5)
    trainer.save_checkpoint(tmp_path / "five.ckpt")
    again = Trainer(callbacks=[second], max_steps=12, **QUIET)
    again.fit(Regression(tanh_net()), loader(), ckpt_path=tmp_path / "five.ckpt", weights_only=True)
    assert second._steps == whole._steps == [0, 1, 2, 4, 6, 8, 10]
    # From there on the loader gives other batches, so only what was kept can be compared.
    assert {name: line[:4] for name, line in second._ratios.items()} == first._ratios
    assert all(None not in line for line in second._ratios.values())


def test_the_lines_stay_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callbacks.update_ratio.REMEMBERED", 6)
    updates = UpdateRatio(every_n_steps=1, figures=False)
    fit(lambda: Regression(tanh_net()), [updates], max_steps=20)
    assert len(updates._steps) <= 6
    assert {len(line) for line in updates._ratios.values()} == {len(updates._steps)}
    assert updates._steps[0] == 0
