"""Tests of the norm of gradients after clipping, and of the fraction of steps on which clipping was active."""

import copy
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import (
    QUIET,
    ByHand,
    Regression,
    fit,
    loader,
    runtime_warnings,
    sgd,
    tanh_net,
)
from foreign_optimizers import WithoutHooks, Wraps
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from reference import norm_of, steps_by_hand
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam, Optimizer

from callbacks import GradStats

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)
TOTAL, CLIPPED, ACTIVE = (
    "grad_norm/total",
    "grad_norm/clipped",
    "grad_norm/clip_active",
)
Params = Sequence[nn.Parameter]


def stats_of(make: Callable[[], LightningModule], **options: Any) -> GradStats:
    """Returns GradStats after a fit in which every step was due."""
    stats = GradStats(every_n_steps=1, figures=False)
    fit(make, [stats], **options)
    return stats


def series(stats: GradStats, tag: str) -> dict[int, float]:
    """Returns the numbers of a tag by step; {} if it was never written."""
    if tag not in stats.history:
        return {}
    steps, values = stats.history[tag]
    return dict(zip(steps, values, strict=True))


def expect_reference(stats: GradStats, expected: list[dict[str, float]]) -> None:
    """Checks the norms and the fraction against a plain loop in float64."""
    for tag in (TOTAL, CLIPPED, ACTIVE):
        assert series(stats, tag) == {
            step: pytest.approx(record[tag], rel=2e-5)
            for step, record in enumerate(expected)
        }, tag


def clip_norm(limit: float) -> Callable[[Params], Any]:
    return lambda params: nn.utils.clip_grad_norm_(params, limit)


def clip_value(limit: float) -> Callable[[Params], Any]:
    return lambda params: nn.utils.clip_grad_value_(params, limit)


BY_VALUE = {"gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"}


class TestAgainstAPlainLoop:
    @pytest.mark.parametrize(
        ("clip", "options"),
        [
            (clip_norm(0.05), {"gradient_clip_val": 0.05}),
            (clip_norm(1.0), {"gradient_clip_val": 1.0}),  # active on some steps
            (clip_norm(100.0), {"gradient_clip_val": 100.0}),  # on none
            (clip_value(0.1), BY_VALUE),
            (lambda _: None, {}),
        ],
        ids=["always", "at times", "never", "by value", "none"],
    )
    @pytest.mark.parametrize("make_optimizer", [sgd, lambda p: Adam(p, lr=0.01)])
    def test_clipping_by_the_trainer(
        self, clip: Any, options: dict[str, Any], make_optimizer: Any
    ) -> None:
        expected = steps_by_hand(tanh_net, 5, optimizer=make_optimizer, clip=clip)
        stats = stats_of(lambda: Regression(tanh_net(), make_optimizer), **options)
        expect_reference(stats, expected)

    def test_the_cases_differ(self) -> None:
        """Clipping is active on some of the steps of the case above, so that a fraction is more than 0 or 1."""
        fractions = [
            record[ACTIVE] for record in steps_by_hand(tanh_net, 5, clip=clip_norm(1.0))
        ]
        assert len(set(fractions)) > 2

    def test_accumulation(self) -> None:
        expected = steps_by_hand(tanh_net, 4, micro_batches=5, clip=clip_norm(0.4))
        stats = stats_of(
            lambda: Regression(tanh_net()),
            accumulate_grad_batches=5,
            max_steps=4,
            gradient_clip_val=0.4,
        )
        expect_reference(stats, expected)

    def test_float64_beyond_float32(self) -> None:
        class Small(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                return super().training_step(batch, batch_idx) * 1e-60

        stats = stats_of(lambda: Small(tanh_net()), max_steps=1, precision="64-true")
        total = steps_by_hand(tanh_net, 1)[0][TOTAL] * 1e-60
        assert series(stats, CLIPPED) == {0: pytest.approx(total, rel=1e-5)}
        assert series(stats, ACTIVE) == {0: 0.0}

    def test_lbfgs(self) -> None:
        """It evaluates the loss several times; both norms are those of the first, where its step begins."""

        def lbfgs(params: Any) -> Optimizer:
            return LBFGS(params, lr=0.1, max_iter=4)

        expected = steps_by_hand(tanh_net, 1, clip=clip_norm(0.05))
        stats = stats_of(
            lambda: Regression(tanh_net(), lbfgs), max_steps=1, gradient_clip_val=0.05
        )
        expect_reference(stats, expected)

    def test_half_precision(self) -> None:
        """Norms are those of the gradients that are there, whatever their type."""
        noting = Notes(tanh_net(), factor=0.5)
        stats = stats_of(lambda: noting, precision="bf16-true")
        expect_noted(stats, noting)
        assert set(series(stats, ACTIVE).values()) == {1.0}


class Notes(Regression):
    """Clips by its own hand, and notes the norms around it in float64.

    Args:
        net: Network.
        optimizer: Makes the optimizer.
        factor: Factor of the gradients; 1 leaves them as they are.
    """

    def __init__(
        self, net: nn.Module, optimizer: Any = sgd, factor: float | None = None
    ) -> None:
        super().__init__(net, optimizer)
        self.factor = factor
        self.norms: list[tuple[float, float]] = []

    def configure_gradient_clipping(
        self, optimizer: Optimizer, *_: Any, **__: Any
    ) -> None:
        before = norm_of(self.parameters())
        for param in self.parameters():
            if param.grad is not None and self.factor is not None:
                param.grad *= self.factor
        self.norms.append((before, norm_of(self.parameters())))


def expect_noted(stats: GradStats, module: Notes, rel: float = 1e-6) -> None:
    """Checks the norms against those that the model has noted."""
    for tag, column in ((TOTAL, 0), (CLIPPED, 1)):
        assert series(stats, tag) == {
            step: pytest.approx(norms[column], rel=rel)
            for step, norms in enumerate(module.norms)
        }


class TestOwnClipping:
    def test_that_does_nothing(self) -> None:
        """As where a model overrides the hook, and the Trainer's limit is never looked at."""
        module = Notes(tanh_net())
        stats = stats_of(lambda: module, gradient_clip_val=1e-3)
        expect_noted(stats, module)
        assert series(stats, ACTIVE) == dict.fromkeys(range(5), 0.0)
        assert series(stats, CLIPPED) == series(stats, TOTAL)

    @pytest.mark.parametrize("factor", [0.5, 0.999, 3.0, 0.0])
    def test_that_scales(self, factor: float) -> None:
        module = Notes(tanh_net(), factor=factor)
        stats = stats_of(lambda: module)
        expect_noted(stats, module)
        # Gradients that grow are not clipped.
        assert series(stats, ACTIVE) == dict.fromkeys(range(5), float(factor < 1))

    def test_rounding_is_no_clipping(self) -> None:
        """Gradients that are replaced by equal ones, of another layout, in another order of summation."""

        class Transposes(Regression):
            def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
                for param in self.parameters():
                    if param.grad is not None and param.ndim == 2:
                        param.grad = param.grad.t().contiguous().t()

        net = nn.Sequential(nn.Linear(4, 3000), nn.Tanh(), nn.Linear(3000, 1))
        stats = stats_of(lambda: Transposes(net))
        assert series(stats, ACTIVE) == dict.fromkeys(range(5), 0.0)

    def test_large_gradients_are_not_clipped_by_rounding(self) -> None:
        """Single precision sums of many squares are off by more than a millionth."""
        net = nn.Sequential(nn.Linear(4, 1000), nn.Tanh(), nn.Linear(1000, 1000))
        stats = stats_of(lambda: Regression(net), max_steps=2)
        assert series(stats, ACTIVE) == {0: 0.0, 1: 0.0}

    def test_gradients_set_to_none(self) -> None:
        """The optimizer takes no gradient, which has no norm."""

        class Drops(Regression):
            def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
                self.zero_grad()

        stats = stats_of(lambda: Drops(tanh_net()))
        assert len(series(stats, TOTAL)) == 5
        assert not series(stats, CLIPPED)
        assert not series(stats, ACTIVE)

    def test_some_gradients_set_to_none(self) -> None:
        class DropsOne(Notes):
            def configure_gradient_clipping(
                self, optimizer: Optimizer, *_: Any, **__: Any
            ) -> None:
                before = norm_of(self.parameters())
                self.net[0].weight.grad = None  # type: ignore[index]
                self.norms.append((before, norm_of(self.parameters())))

        module = DropsOne(tanh_net())
        stats = stats_of(lambda: module)
        expect_noted(stats, module)
        assert series(stats, ACTIVE) == dict.fromkeys(range(5), 1.0)

    def test_nan_that_is_taken_out_is_not_counted(self) -> None:
        """`grad_norm/total` is then that of the finite values, and says nothing of what has changed."""

        class Mends(Regression):
            def on_after_backward(self) -> None:
                if self.trainer.global_step == 1:
                    self.net[0].bias.grad[2] = float("nan")  # type: ignore[index]

            def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
                for param in self.parameters():
                    if param.grad is not None:
                        param.grad.nan_to_num_(nan=10.0)

        with runtime_warnings():
            stats = stats_of(lambda: Mends(tanh_net()))
        assert list(series(stats, ACTIVE)) == [0, 2, 3, 4]
        assert series(stats, CLIPPED)[1] > 10.0 > series(stats, TOTAL)[1]

    def test_nan_has_no_norm(self) -> None:
        class Breaks(Regression):
            def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
                self.net[0].bias.grad[2] = float("nan")  # type: ignore[index]

        with runtime_warnings():
            stats = stats_of(lambda: Breaks(tanh_net()), max_steps=1)
        assert len(series(stats, TOTAL)) == 1
        assert not series(stats, CLIPPED)
        assert not series(stats, ACTIVE)


class Centralizes(SGD):
    """Changes gradients in place in its step, and clears them after it."""

    def step(self, closure: Any = None) -> Any:
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                param.grad.sub_(param.grad.mean())
        super().step()
        self.zero_grad(set_to_none=False)
        return loss


class IsCallable(SGD):
    """Optimizer that is a function as well; to call it is an error."""

    def __call__(self) -> None:
        raise NotImplementedError


class TestOptimizers:
    def test_that_changes_gradients_in_its_step(self) -> None:
        module = Notes(tanh_net(), lambda p: Centralizes(p, lr=0.1))
        stats = stats_of(lambda: module)
        expect_noted(stats, module)
        assert series(stats, ACTIVE) == dict.fromkeys(range(5), 0.0)

    def test_gradients_cleared_after_the_step(self) -> None:
        class Clears(Notes):
            def optimizer_step(self, *arguments: Any, **keywords: Any) -> None:
                super().optimizer_step(*arguments, **keywords)
                self.zero_grad(set_to_none=False)  # type: ignore[call-arg]

        module = Clears(tanh_net())
        stats = stats_of(lambda: module)
        expect_noted(stats, module)

    def test_two_parameter_groups(self) -> None:
        def groups(params: Params) -> Optimizer:
            return SGD([{"params": params[:2]}, {"params": params[2:], "lr": 0.0}], 0.1)

        module = Notes(tanh_net(), groups, factor=0.5)
        stats = stats_of(lambda: module)
        expect_noted(stats, module)

    def test_a_parameter_that_no_optimizer_has(self) -> None:
        def some(params: Params) -> Optimizer:
            return SGD(params[2:], lr=0.1)

        stats = stats_of(lambda: Regression(tanh_net(), some))
        assert series(stats, CLIPPED) == series(stats, TOTAL)
        assert len(series(stats, CLIPPED)) == 5

    def test_that_is_callable(self) -> None:
        module = Notes(tanh_net(), lambda p: IsCallable(p, lr=0.1))
        stats = stats_of(lambda: module)
        expect_noted(stats, module)

    @pytest.mark.parametrize("foreign", [WithoutHooks, Wraps])
    def test_without_hooks_there_are_no_numbers(self, foreign: Any) -> None:
        with runtime_warnings() as messages:
            stats = stats_of(lambda: Regression(tanh_net(), foreign))
        assert messages == []
        assert len(series(stats, TOTAL)) == 5
        assert not series(stats, CLIPPED)
        assert not series(stats, ACTIVE)

    @pytest.mark.filterwarnings("ignore")  # of the compiler
    def test_a_compiled_step_has_no_numbers(self) -> None:
        """Hooks would be compiled along with it."""

        def compiled(params: Params) -> Optimizer:
            optimizer = SGD(params, lr=0.1)
            optimizer.step = torch.compile(optimizer.step, backend="eager")  # type: ignore[method-assign]
            return optimizer

        stats = stats_of(lambda: Regression(tanh_net(), compiled), max_steps=2)
        assert len(series(stats, TOTAL)) == 2
        assert not series(stats, CLIPPED)
        assert not series(stats, ACTIVE)
        # PyTorch has by now wrapped the steps of some optimizers, to keep them out of compiled code.
        TestAgainstAPlainLoop().test_lbfgs()

    def test_sparse_gradients(self) -> None:
        class Words(Notes):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                words = batch[0].abs().mul(5).long()
                return super().training_step([words, batch[1]], batch_idx)

            def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
                gradients = [
                    param.grad.to_dense()
                    for param in self.parameters()
                    if param.grad is not None
                ]
                norm = torch.cat([each.flatten() for each in gradients]).double().norm()
                self.norms.append((norm.item(), norm.item()))

        net = nn.Sequential(nn.Embedding(30, 4, sparse=True), nn.Tanh(), nn.Flatten())
        module = Words(net)
        stats = stats_of(lambda: module)
        expect_noted(stats, module)
        assert series(stats, ACTIVE) == dict.fromkeys(range(5), 0.0)

    def test_complex_gradients(self) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.spectrum = nn.Parameter(torch.randn(4, 4, dtype=torch.cfloat))

            def forward(self, x: Tensor) -> Tensor:
                return (x.to(torch.cfloat) @ self.spectrum).abs()

        stats = stats_of(lambda: Regression(Net()), gradient_clip_val=0.01)
        assert series(stats, CLIPPED) == dict.fromkeys(
            range(5), pytest.approx(0.01, rel=1e-4)
        )
        assert series(stats, ACTIVE) == dict.fromkeys(range(5), 1.0)


class TestScaler:
    def plugin(self, scale: float = 3000.0) -> MixedPrecision:
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        return MixedPrecision("16-mixed", "cpu", scaler)

    @pytest.mark.parametrize("factor", [None, 0.5])
    def test_norms_are_unscaled(self, factor: float | None) -> None:
        module = Notes(tanh_net(), factor=factor)
        stats = stats_of(lambda: module, plugins=[self.plugin()])
        expect_noted(stats, module)
        assert series(stats, ACTIVE) == dict.fromkeys(range(5), float(factor == 0.5))

    def test_a_fused_optimizer_unscales_itself(self) -> None:
        """Its gradients are scaled until its step."""
        module = Notes(tanh_net(), lambda p: Adam(p, fused=True))
        stats = stats_of(lambda: module, plugins=[self.plugin()])
        for tag in (TOTAL, CLIPPED):
            assert series(stats, tag) == {
                step: pytest.approx(before / 3000.0, rel=1e-6)
                for step, (before, _) in enumerate(module.norms)
            }
        assert series(stats, ACTIVE) == dict.fromkeys(range(5), 0.0)

    def test_a_fused_optimizer_whose_gradients_are_unscaled_to_be_clipped(self) -> None:
        """Lightning refuses to clip them, so that models call `unscale_` themselves."""

        class Unscales(Notes):
            def configure_gradient_clipping(
                self, optimizer: Any, *_: Any, **__: Any
            ) -> None:
                plugin: Any = self.trainer.precision_plugin
                plugin.scaler.unscale_(optimizer)
                super().configure_gradient_clipping(optimizer)

        module = Unscales(tanh_net(), lambda p: Adam(p, fused=True))
        stats = stats_of(lambda: module, plugins=[self.plugin()])
        expect_noted(stats, module)
        assert series(stats, ACTIVE) == dict.fromkeys(range(5), 0.0)

    @pytest.mark.parametrize("fused", [False, True])
    def test_a_skipped_step_is_not_counted(self, fused: bool) -> None:
        class Overflows(Notes):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                loss = super().training_step(batch, batch_idx)
                return loss * torch.inf if self.trainer.global_step == 1 else loss

        stats = stats_of(
            lambda: Overflows(tanh_net(), lambda p: Adam(p, fused=fused), factor=0.5),
            plugins=[self.plugin()],
        )
        assert list(series(stats, CLIPPED)) == [0, 2, 3, 4]
        assert series(stats, ACTIVE) == dict.fromkeys([0, 2, 3, 4], 1.0)


class TestByHand:
    """In manual optimization `grad_norm/total` is that of gradients clipped by hand, which says nothing of clipping."""

    def test_has_neither_number(self) -> None:
        class Clips(ByHand):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
                optimizer: Any = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                self.clip_gradients(optimizer, 0.01, "norm")
                optimizer.step()

        stats = stats_of(lambda: Clips(tanh_net()))
        assert series(stats, TOTAL) == dict.fromkeys(
            range(5), pytest.approx(0.01, rel=1e-4)
        )
        assert not series(stats, CLIPPED)
        assert not series(stats, ACTIVE)


class TestCount:
    def test_a_second_fit_counts_anew(self) -> None:
        stats = GradStats(every_n_steps=1, figures=False)
        for limit, active in ((1e-3, 1.0), (None, 0.0)):
            fit(lambda: Regression(tanh_net()), [stats], gradient_clip_val=limit)
            assert series(stats, ACTIVE) == dict.fromkeys(range(5), active)

    def test_a_resumed_run_goes_on(self, tmp_path: Path) -> None:
        options = {**QUIET, "default_root_dir": tmp_path}
        clipped = [GradStats(every_n_steps=1, figures=False) for _ in range(2)]
        trainer, _ = fit(
            lambda: Regression(tanh_net()),
            clipped,  # two of one class and arguments, which Lightning refuses of callbacks with a `state_dict`
            gradient_clip_val=1e-3,
            default_root_dir=tmp_path,
        )
        trainer.save_checkpoint(tmp_path / "clipped.ckpt")
        resumed = GradStats(every_n_steps=1, figures=False)
        again = Trainer(callbacks=[resumed], max_steps=8, **options)
        again.fit(
            Regression(tanh_net()),
            loader(),
            ckpt_path=tmp_path / "clipped.ckpt",
            weights_only=True,
        )
        assert series(resumed, ACTIVE) == {5: 5 / 6, 6: 5 / 7, 7: 5 / 8}

    @pytest.mark.parametrize(
        "clone", [copy.deepcopy, lambda stats: pickle.loads(pickle.dumps(stats))]
    )
    def test_survives_what_history_survives(self, clone: Any) -> None:
        stats = clone(stats_of(lambda: Regression(tanh_net()), gradient_clip_val=1e-3))
        assert stats._clipped == (4, 5, 5)
        assert series(stats, ACTIVE)[4] == 1.0

    def test_only_due_steps_count(self) -> None:
        stats = GradStats(every_n_steps=3, dense_start=False, figures=False)
        fit(lambda: Regression(tanh_net()), [stats], gradient_clip_val=1e-3)
        assert stats._clipped == (4, 3, 3)  # steps 0, 3 and the last


def test_hooks_are_gone_after_the_step() -> None:
    class Looks(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
            found.append(len(trainer.optimizers[0]._optimizer_step_pre_hooks))

    found: list[int] = []
    fit(lambda: Regression(tanh_net()), [GradStats(figures=False), Looks()])
    assert found == [0] * 5


def test_the_observation_does_not_hold_the_step_up() -> None:
    """A closure's result is passed on, and each evaluation of it."""
    results: list[Any] = []

    class Keeps(Regression):
        def optimizer_step(  # type: ignore[override]
            self, epoch: int, batch_idx: int, optimizer: Any, closure: Any
        ) -> None:
            results.append(optimizer.step(closure=closure).item())

    fit(lambda: Keeps(tanh_net()))
    bare, results[:] = list(results), []
    fit(lambda: Keeps(tanh_net()), [GradStats(every_n_steps=1, figures=False)])
    assert results == bare
