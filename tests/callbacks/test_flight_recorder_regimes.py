"""Tests of FlightRecorder in every regime: the step of a NaN, the same bits in its replay, an undisturbed training."""

import copy
import json
import math
import os
import pickle
import random
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from enum import IntEnum
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fits import (
    ByHand,
    Regression,
    fit,
    loader,
    squared_error,
    state_of,
    tanh_net,
)
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    GradientAccumulationScheduler,
)
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

from callbacks import FlightRecorder, HealthCheck, ReplayResult, replay
from callbacks.measure.placement import simulated_device
from callbacks.recorder.bundle import read_bundle

pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests" / "helpers"
BAD_STEP = 2


class Breaking(nn.Module):
    """Gives NaN in its third call of a training."""

    def __init__(self, call: int = BAD_STEP) -> None:
        super().__init__()
        self.calls, self.call = 0, call

    def forward(self, x: Tensor) -> Tensor:
        bad = self.training and self.calls == self.call
        self.calls += self.training
        return torch.log(x - 100.0) if bad else x


def breaking_net(call: int = BAD_STEP, *layers: nn.Module) -> nn.Sequential:
    """Returns a `tanh_net` with further layers, and one that breaks."""
    first, tanh, *rest = tanh_net()
    return nn.Sequential(first, tanh, *layers, Breaking(call), *rest)


def recorded(
    folder: Path, make: Callable[[], LightningModule], **options: Any
) -> tuple[FlightRecorder, str]:
    """Fits with and without a recorder, and checks that the weights are bit-equal."""
    callbacks = options.pop("callbacks", [])
    arguments = options.pop("recorder", {})
    bare = state_of(*fit(make, callbacks, **options))
    recorder = FlightRecorder(dirpath=str(folder), figures=False, **arguments)
    fitted = state_of(*fit(make, [*callbacks, recorder], **options))
    assert fitted == bare
    return recorder, bare


def expect_fault(
    folder: Path,
    make: Callable[[], LightningModule],
    step: int = BAD_STEP,
    where: str = "net.2",
    **options: Any,
) -> ReplayResult:
    """Checks the bundle of a fit and its replay."""
    recorder, _ = recorded(folder, make, **options)
    path = recorder.bundles[0]
    first = read_bundle(path).facts["first"]
    assert (first["step"], first["where"]) == (step, where), first
    result = replay(path, make(), accelerator="cpu")
    assert result.is_equal, result.difference
    assert result.where == where, result
    return result


class TestOptimization:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"gradient_clip_val": 0.1},
            {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
        ],
        ids=str,
    )
    def test_by_the_trainer(self, tmp_path: Path, options: Any) -> None:
        expect_fault(tmp_path, lambda: Regression(breaking_net()), **options)

    @pytest.mark.parametrize(("call", "step"), [(3, 1), (4, 2), (6, 3)])
    def test_accumulation(self, tmp_path: Path, call: int, step: int) -> None:
        """An epoch has five batches, so that its third window has a single one."""
        options: dict[str, Any] = {"accumulate_grad_batches": 2, "max_steps": 6}
        expect_fault(tmp_path, lambda: Regression(breaking_net(call)), step, **options)

    def test_by_hand(self, tmp_path: Path) -> None:
        expect_fault(tmp_path, lambda: ByHand(breaking_net()))

    def test_by_hand_with_raw_optimizers(self, tmp_path: Path) -> None:
        """Lightning announces no step of such an optimizer: the loss alone is judged."""

        class Raw(ByHand):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
                optimizer: Any = self.optimizers(use_pl_optimizer=False)
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                optimizer.step()

        expect_fault(tmp_path, lambda: Raw(breaking_net()), max_steps=-1, max_epochs=1)

    def test_lbfgs(self, tmp_path: Path) -> None:
        def lbfgs(params: Any) -> torch.optim.Optimizer:
            return torch.optim.LBFGS(params, lr=0.02, max_iter=4)

        recorder, _ = recorded(
            tmp_path, lambda: Regression(breaking_net(9), lbfgs), max_steps=5
        )
        assert recorder.bundles[0].name.endswith("nonfinite")

    def test_a_frozen_layer_and_an_unused_one(self, tmp_path: Path) -> None:
        class Partly(Regression):
            def __init__(self) -> None:
                super().__init__(breaking_net())
                self.net[0].requires_grad_(False)  # type: ignore[index]
                self.unused = nn.Linear(2, 2)

        expect_fault(tmp_path, Partly)

    def test_a_schedule(self, tmp_path: Path) -> None:
        class Scheduled(Regression):
            def configure_optimizers(self) -> Any:
                optimizer = super().configure_optimizers()
                schedule = torch.optim.lr_scheduler.LambdaLR(
                    optimizer, lambda step: 0.5**step
                )
                return {
                    "optimizer": optimizer,
                    "lr_scheduler": {"scheduler": schedule, "interval": "step"},
                }

        result = expect_fault(tmp_path, lambda: Scheduled(breaking_net()))
        rates = [each.learning_rates for each in result.numbers[:2]]
        assert rates == [(0.1,), (0.05,)]


class TestPrecision:
    @pytest.mark.parametrize(
        "precision", ["64-true", "bf16-mixed", "bf16-true", "16-true"]
    )
    def test_precision(self, tmp_path: Path, precision: Any) -> None:
        expect_fault(tmp_path, lambda: Regression(breaking_net()), precision=precision)

    def test_a_scaler_and_its_skipped_steps(self, tmp_path: Path) -> None:
        """Gradients that overflow are how a scaler finds its scale; NaN in the loss is a fault."""

        def options() -> dict[str, Any]:
            scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)  # type: ignore[attr-defined]
            return {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}

        healthy = FlightRecorder(dirpath=str(tmp_path), figures=False)
        fit(lambda: Regression(tanh_net()), [healthy], **options())
        assert healthy.bundles == []
        sick = FlightRecorder(dirpath=str(tmp_path), figures=False)
        fit(lambda: Regression(breaking_net()), [sick], **options())
        (path,) = sick.bundles
        facts = read_bundle(path).facts
        assert facts["first"]["step"] == facts["trigger"]["step"]
        result = replay(path, Regression(breaking_net()), accelerator="cpu")
        assert result.is_equal, result.difference
        assert result.where == "net.2"


class TestModules:
    def test_buffers_that_a_forward_pass_changes(self, tmp_path: Path) -> None:
        """A replay from the buffers after the step would not be bit-equal."""
        layers = spectral_norm(nn.Linear(8, 8)), nn.BatchNorm1d(8), nn.Dropout(0.5)
        expect_fault(
            tmp_path,
            lambda: Regression(breaking_net(BAD_STEP, *map(copy.deepcopy, layers))),
            where="net.5",
        )

    def test_activation_checkpointing(self, tmp_path: Path) -> None:
        class Checkpointed(Regression):
            def forward(self, x: Tensor) -> Tensor:
                net: Any = self.net
                return net[2:](checkpoint(net[:2], x, use_reentrant=False))

        expect_fault(tmp_path, lambda: Checkpointed(breaking_net()))

    def test_an_lstm_has_an_entry_an_output(self, tmp_path: Path) -> None:
        class Recurrent(Regression):
            def __init__(self) -> None:
                super().__init__(breaking_net())
                self.lstm = nn.LSTM(4, 4, batch_first=True)

            def forward(self, x: Tensor) -> Tensor:
                return self.net(self.lstm(x[:, None])[0][:, 0])

        result = expect_fault(tmp_path, Recurrent)
        names = set(result.numbers[-1].magnitudes)
        assert {"lstm.0", "lstm.1.0", "lstm.1.1", "net.0"} <= names

    def test_compiled(self, tmp_path: Path) -> None:
        """Outputs inside compiled code have no numbers; the step is found, and gradients are there."""

        def make() -> LightningModule:
            module = Regression(tanh_net())
            module.net = torch.compile(module.net, backend="aot_eager")  # type: ignore[assignment]
            return BadLoss(module.net)

        recorder, _ = recorded(tmp_path, make)
        numbers = read_bundle(recorder.bundles[0]).numbers
        assert numbers[-1].step == BAD_STEP
        assert "net.0.weight" in numbers[0].gradients

    @pytest.mark.parametrize("draw", [random.random, np.random.normal, np.random.rand])
    def test_random_numbers_that_are_not_of_pytorch(
        self, tmp_path: Path, draw: Callable[[], float]
    ) -> None:
        """A normal number of NumPy is one of a pair, the second of which leaves the bits of the generator alone."""

        class Random(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                inputs, targets = batch
                return super().training_step([inputs * draw(), targets], batch_idx)

        expect_fault(tmp_path, lambda: Random(breaking_net()))


class Healed(Regression):
    """Its loss is NaN in one step; the gradients of that step are set to zero, so that training goes on."""

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        for param in self.parameters():
            if param.grad is not None:
                param.grad.nan_to_num_(0.0, 0.0, 0.0)


class Helper:
    """Counts in an object that is no module."""

    def __init__(self) -> None:
        self.calls, self.rows = 0, [0]


class OwnState(Healed):
    """Its step draws from a generator of its own, and changes a helper, containers, a buffer and a tensor in a list."""

    def __init__(self) -> None:
        super().__init__(tanh_net())
        self.noise, self.helper = torch.Generator().manual_seed(3), Helper()
        self.past = deque([1.0], maxlen=3)
        self.scales = {"x": [torch.ones(())]}
        self.register_buffer("scale", torch.ones(()))
        self.kept = torch.ones(1).expand(3)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        noise = torch.randn(x.shape, generator=self.noise)
        self.past.append(float(noise.sum()))
        self.helper.calls += 1
        self.helper.rows.append(self.helper.calls)
        self.scales["x"][0].mul_(1.1)
        scale: Any = self.scale
        scale.mul_(1.1)
        factor = (
            (sum(self.helper.rows) + sum(self.past) ** 2) * self.scales["x"][0] * scale
        )
        loss = super().training_step([x + noise, y], batch_idx) * factor
        return loss * math.nan if self.trainer.global_step == BAD_STEP else loss


class OwnIterator(Healed):
    """Its step takes from an iterator, which nothing can set back: there is no second run."""

    def __init__(self) -> None:
        super().__init__(tanh_net())
        self.factors = iter(range(1, 100))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx) * next(self.factors)
        return loss * math.nan if self.trainer.global_step == BAD_STEP else loss


class OwnBackward(Healed, ByHand):
    """Calls `backward` itself; one layer has a gradient that is NaN in one step, the others do not."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        loss = self.loss(batch)
        if self.trainer.global_step == BAD_STEP:
            loss = loss + (self.net[0].weight * 0.0).sum().sqrt()  # type: ignore[index, operator]
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize(
    "make", [OwnState, OwnIterator, lambda: OwnBackward(tanh_net())]
)
def test_the_second_run_in_a_training_leaves_no_trace(
    tmp_path: Path, make: Callable[[], LightningModule]
) -> None:
    recorder, _ = recorded(tmp_path, make, max_steps=8)
    assert read_bundle(recorder.bundles[0]).facts["first"]["step"] == BAD_STEP


class BadLoss(Regression):
    """Its loss is NaN in one step."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * math.nan if self.trainer.global_step == BAD_STEP else loss


class TestTrainers:
    def test_beside_health_check(self, tmp_path: Path) -> None:
        check = HealthCheck()
        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        fit(lambda: Regression(breaking_net()), [check, recorder])
        (path,) = recorder.bundles
        (finding,) = [
            each for each in check.report.findings if each.rule == "nonfinite"
        ]
        assert finding.message == read_bundle(path).facts["first"]["message"]

    def test_weight_averaging(self, tmp_path: Path) -> None:
        average = EMAWeightAveraging(decay=0.9)
        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        fit(lambda: Regression(breaking_net()), [average, recorder])
        assert recorder.bundles[0].name == "step_000002_nonfinite"

    def test_validation_and_its_exception(self, tmp_path: Path) -> None:
        class Validating(Regression):
            def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
                if self.trainer.global_step == 4:
                    raise ValueError("no such metric")

        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        with pytest.raises(ValueError, match="no such metric"):
            fit(
                lambda: Validating(tanh_net()),
                [recorder],
                val=loader(),
                val_check_interval=2,
                limit_val_batches=1,
            )
        (path,) = recorder.bundles
        trigger = read_bundle(path).facts["trigger"]
        assert trigger["kind"] == "exception"

    def test_fast_dev_run_and_barebones(self, tmp_path: Path) -> None:
        for options in ({"fast_dev_run": 4}, {"barebones": True}):
            quiet = dict.fromkeys(
                (
                    "logger",
                    "enable_checkpointing",
                    "enable_progress_bar",
                    "enable_model_summary",
                )
            )
            recorder = FlightRecorder(
                dirpath=str(tmp_path / next(iter(options))), figures=False
            )
            fit(lambda: Regression(breaking_net()), [recorder], **{**quiet, **options})
            assert len(recorder.bundles) == 1

    def test_a_second_fit_begins_anew(self, tmp_path: Path) -> None:
        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        fit(lambda: Regression(breaking_net()), [recorder])
        fit(lambda: Regression(breaking_net()), [recorder])
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["step_000002_nonfinite", "step_000002_nonfinite_2"]
        assert [path.name for path in recorder.bundles] == names[1:]

    def test_copies_and_pickles(self, tmp_path: Path) -> None:
        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        for copied in (copy.deepcopy(recorder), pickle.loads(pickle.dumps(recorder))):
            fit(lambda: Regression(breaking_net()), [copied])
            assert len(copied.bundles) == 1

    def test_the_model_can_be_copied_in_the_middle(self, tmp_path: Path) -> None:
        class Copying(Regression):
            def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int):
                self.copied = pickle.loads(pickle.dumps(self.net.state_dict()))
                copy.deepcopy(self.net)(torch.zeros(2, 4))

        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        fit(lambda: Copying(breaking_net()), [recorder])
        assert len(recorder.bundles) == 1

    @pytest.mark.parametrize("name", ["FSDPStrategy", "DeepSpeedStrategy"])
    def test_what_cannot_be_measured_is_left_out(
        self, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import callbacks.flight_recorder as file

        monkeypatch.setattr(file, "why_unsupported", lambda _: f"cannot: {name}.")
        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        fit(lambda: Regression(breaking_net()), [recorder])
        assert recorder.bundles == []


class TestFaultsOfOthers:
    """Models, optimizers and batches that keep, change or return something unusual."""

    def test_weights_that_were_nan_before_the_first_step(self, tmp_path: Path) -> None:
        def make() -> LightningModule:
            model = Regression(tanh_net())
            model.net[2].weight.data[0, 0] = math.nan  # type: ignore[index, union-attr]
            return model

        result = expect_fault(tmp_path, make, 0, "net.2.weight")
        assert "before step 0, the first of this fit" in str(result.message)

    def test_an_exception_is_not_blamed_on_an_older_nan(self, tmp_path: Path) -> None:
        class Raising(Healed):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                if self.trainer.global_step == 7:
                    raise ValueError("no such row")
                loss = super().training_step(batch, batch_idx)
                is_bad = self.trainer.global_step == BAD_STEP
                return loss * math.nan if is_bad else loss

        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        with pytest.raises(ValueError, match="no such row"):
            fit(lambda: Raising(tanh_net()), [recorder], max_steps=9)
        names = [path.name for path in recorder.bundles]
        assert names == ["step_000002_nonfinite", "step_000007_exception"]
        facts = read_bundle(recorder.bundles[1]).facts
        assert (facts["state"]["step"], facts["first"]["step"]) == (7, 7)

    def test_an_exception_is_not_blamed_on_a_skipped_step(self, tmp_path: Path) -> None:
        class Raising(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                if batch_idx == 4:
                    raise ValueError("no such row")
                return super().training_step(batch, batch_idx)

        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)  # type: ignore[attr-defined]
        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        with pytest.raises(ValueError, match="no such row"):
            fit(
                lambda: Raising(tanh_net()),
                [recorder],
                plugins=[MixedPrecision("16-mixed", "cpu", scaler)],
            )
        assert [path.name for path in recorder.bundles] == ["step_000004_exception"]

    def test_validation_with_gradients_is_no_part_of_a_step(
        self, tmp_path: Path
    ) -> None:
        class Validating(Regression):
            def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
                with torch.enable_grad():
                    self(batch[0] * math.nan)

            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                if self.trainer.global_step == BAD_STEP:
                    raise ValueError("no such row")
                return super().training_step(batch, batch_idx)

        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        with pytest.raises(ValueError, match="no such row"):
            fit(
                lambda: Validating(tanh_net()),
                [recorder],
                val=loader(),
                val_check_interval=1,
                limit_val_batches=1,
                inference_mode=False,
            )
        bundle = read_bundle(recorder.bundles[0])
        assert bundle.step == BAD_STEP
        outputs = [
            value for each in bundle.numbers for value in each.magnitudes.values()
        ]
        assert all(map(math.isfinite, outputs))

    def test_detect_anomaly(self, tmp_path: Path) -> None:
        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        with pytest.raises(RuntimeError, match="returned nan values"):
            fit(lambda: BadGradient(BAD_STEP), [recorder], detect_anomaly=True)
        first = read_bundle(recorder.bundles[0]).facts["first"]
        assert (first["step"], first["where"]) == (BAD_STEP, "net.2")

    def test_a_gradient_of_one_batch_of_an_accumulation(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"accumulate_grad_batches": 4, "max_steps": 3}
        data = loader(rows=96)
        expect_fault(tmp_path, lambda: BadGradient(5), 1, data=data, **options)

    def test_an_accumulation_that_changes(self, tmp_path: Path) -> None:
        class Late(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                loss = super().training_step(batch, batch_idx) * 0 + 1
                is_bad = self.trainer.current_epoch == 2
                return loss * math.nan if is_bad else loss

        schedule = GradientAccumulationScheduler({0: 4, 1: 2})
        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        fit(
            lambda: Late(tanh_net()),
            [schedule, recorder],
            max_steps=-1,
            max_epochs=3,
        )
        losses = [each.loss for each in read_bundle(recorder.bundles[0]).numbers]
        assert losses[:-1] == [1.0] * len(losses[:-1])

    @pytest.mark.parametrize("steps", [3, 4, 6])
    def test_a_device_has_the_last_steps_judged_at_the_end(
        self, tmp_path: Path, steps: int
    ) -> None:
        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        with simulated_device():
            fit(lambda: BadLoss(tanh_net()), [recorder], max_steps=steps)
        assert [path.name for path in recorder.bundles] == ["step_000002_nonfinite"]

    def test_the_last_update_of_a_training(self, tmp_path: Path) -> None:
        def make() -> LightningModule:
            return Regression(tanh_net(), lambda p: Overflowing(p, lr=0.1))

        recorder, _ = recorded(
            tmp_path, make, recorder={"state_every_n_steps": 1}, max_steps=3
        )
        first = read_bundle(recorder.bundles[0]).facts["first"]
        assert (first["step"], first["where"]) == (2, "net.0.weight")

    def test_the_state_is_not_that_after_an_update_by_data(
        self, tmp_path: Path
    ) -> None:
        class Ending(Regression):
            def on_train_batch_end(
                self, outputs: Any, batch: Any, batch_idx: int
            ) -> None:
                if self.trainer.global_step == 3:
                    raise ValueError("no such row")

        recorder = FlightRecorder(dirpath=str(tmp_path), figures=False)
        with pytest.raises(ValueError, match="no such row"):
            fit(lambda: Ending(tanh_net(), lambda p: ByData(p, lr=0.1)), [recorder])
        assert read_bundle(recorder.bundles[0]).state is None

    def test_compiled_submodules(self, tmp_path: Path) -> None:
        def make() -> LightningModule:
            model = BadLoss(tanh_net())
            model.net = torch.compile(model.net, backend="eager")  # type: ignore[assignment]
            return model

        expect_fault(tmp_path, make, where="")

    def test_buffers_that_grow_or_begin_to_change_late(self, tmp_path: Path) -> None:
        class Remembering(Regression):
            def __init__(self) -> None:
                super().__init__(breaking_net(8))
                self.register_buffer("rows", torch.zeros(0, 4))
                self.register_buffer("late", torch.ones(4))

            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                x, y = batch
                self.rows = torch.cat([self.rows, x[:2]])
                late: Any = self.late
                if self.trainer.global_step > 5:
                    late.mul_(1.5)
                x = x * late + self.rows.mean()
                return super().training_step([x, y], batch_idx)

        expect_fault(tmp_path, Remembering, 8, max_steps=10)

    def test_a_member_of_an_enumeration_among_the_counts(self, tmp_path: Path) -> None:
        class Mode(IntEnum):
            TRAIN = 1

        class WithMode(BadLoss):
            mode = Mode.TRAIN

            def __init__(self) -> None:
                super().__init__(tanh_net())
                self.mode = Mode.TRAIN

            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                assert isinstance(self.mode, Mode)
                return super().training_step(batch, batch_idx)

        expect_fault(tmp_path, WithMode, where="")

    def test_objects_in_the_states_of_optimizers_and_schedules(
        self, tmp_path: Path
    ) -> None:
        """The replay runs several steps; what a bundle cannot hold stays that of the new optimizer."""

        class Scheduled(Regression):
            def configure_optimizers(self) -> Any:
                optimizer = Queueing(self.parameters(), lr=0.1)
                schedule = WithFunction(optimizer)
                interval = {"scheduler": schedule, "interval": "step"}
                return {"optimizer": optimizer, "lr_scheduler": interval}

        options: dict[str, Any] = {
            "recorder": {"state_every_n_steps": 3},
            "max_steps": 7,
        }
        recorder, _ = recorded(tmp_path, lambda: Scheduled(tanh_net()), **options)
        make = lambda: Scheduled(tanh_net())  # noqa: E731
        result = replay(recorder.bundles[0], make(), accelerator="cpu")
        assert result.is_equal, result.difference
        assert (result.step, result.where) == (5, "net.0.weight")

    def test_the_second_loss_of_a_gan(self, tmp_path: Path) -> None:
        """The first network has moved by then; its own numbers stay finite."""
        options: dict[str, Any] = {"max_steps": 10}
        copies = {"state_every_n_steps": 1}
        expect_fault(tmp_path, lambda: Gan(breaking_net()), recorder=copies, **options)
        assert len(list(tmp_path.iterdir())) == 1

    def test_the_first_update_of_a_gan(self, tmp_path: Path) -> None:
        class BadUpdate(Gan):
            def step_judge(self, loss: Tensor) -> None:
                is_bad = self.trainer.global_step == 4
                optimizer: Any = self.optimizers()
                optimizer[1].param_groups[0]["lr"] = math.nan if is_bad else 0.1
                super().step_judge(loss)

            def loss_of_net(self, batch: list[Tensor]) -> Tensor:
                y = self.judge(batch[0])
                return squared_error(self.net(batch[0]), y)

        copies = {"state_every_n_steps": 1}
        expect_fault(
            tmp_path,
            lambda: BadUpdate(tanh_net()),
            2,
            "judge.0.weight",
            recorder=copies,
            max_steps=10,
        )

    def test_an_optimizer_that_begins_late_is_no_jump(self, tmp_path: Path) -> None:
        class Late(Gan):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
                self.step_judge(squared_error(self.judge(batch[0]), batch[1]))
                if batch_idx > 30 and batch_idx % 5 == 0:
                    self.step_net(self.loss_of_net(batch) * 1e5)

            def configure_optimizers(self) -> Any:
                rates = (self.net, 1e-7), (self.judge, 0.01)
                return [torch.optim.SGD(n.parameters(), lr=rate) for n, rate in rates]

        options: dict[str, Any] = {"max_steps": -1, "max_epochs": 1}
        data = loader(rows=800)
        recorder, _ = recorded(tmp_path, lambda: Late(tanh_net()), data=data, **options)
        assert recorder.bundles == []

    def test_a_rate_that_jumped(self, tmp_path: Path) -> None:
        """The loss jumps in the step after; the rate depends on the number of the batch."""

        class Exploding(Regression):
            def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
                group = self.trainer.optimizers[0].param_groups[0]
                group["lr"] = 1e4 if batch_idx == 40 else 0.01

        options: dict[str, Any] = {
            "data": loader(rows=400),
            "max_steps": 45,
            "recorder": {"state_every_n_steps": 1},
        }
        result = expect_fault(
            tmp_path, lambda: Exploding(tanh_net()), 40, "", **options
        )
        assert "The learning rate jumped in step 40" in str(result.message)

    def test_a_loss_that_jumped_alone(self, tmp_path: Path) -> None:
        class BadTarget(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                loss = super().training_step(batch, batch_idx)
                return loss + 100.0 if batch_idx == 40 else loss

        options: dict[str, Any] = {"data": loader(rows=400), "max_steps": 45}
        result = expect_fault(
            tmp_path, lambda: BadTarget(tanh_net()), 40, "", **options
        )
        assert "The loss jumped in step 40" in str(result.message)

    def test_norms_after_clipping_by_a_hook(self, tmp_path: Path) -> None:
        class Clipping(BadLoss):
            def on_before_optimizer_step(self, optimizer: Any) -> None:
                torch.nn.utils.clip_grad_norm_(self.parameters(), 0.01)

        recorder, _ = recorded(tmp_path, lambda: Clipping(tanh_net()))
        first = read_bundle(recorder.bundles[0]).numbers[0]
        assert first.clipped == pytest.approx(0.01, rel=1e-4)

    def test_a_target_in_another_unit_in_one_batch_of_an_accumulation(
        self, tmp_path: Path
    ) -> None:
        """The largest magnitude of the batch is that of all batches of a step."""
        batches = [
            [x, y * 1000 if i == 161 else y]
            for i, (x, y) in enumerate(islice(rows(), 200))
        ]
        options: dict[str, Any] = {
            "data": DataLoader(batches, batch_size=None),  # type: ignore[arg-type]
            "accumulate_grad_batches": 4,
            "max_steps": 45,
        }
        result = expect_fault(
            tmp_path, lambda: Regression(tanh_net()), 40, "batch.1", **options
        )
        assert "The tensor 1 of the batch jumped in step 40" in str(result.message)

    def test_gradients_of_a_layer_that_was_replaced(self, tmp_path: Path) -> None:
        class Replacing(BadLoss):
            def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
                if batch_idx == 1:
                    self.net[2] = nn.Linear(8, 8)  # type: ignore[index, operator]
                    params = list(self.net[2].parameters())  # type: ignore[index, union-attr]
                    self.trainer.optimizers[0].add_param_group({"params": params})

        recorder, _ = recorded(tmp_path, lambda: Replacing(tanh_net()))
        numbers = read_bundle(recorder.bundles[0]).numbers
        assert {"net.2.weight", "net.2.bias"} <= set(numbers[1].gradients)


def rows() -> Iterator[list[Tensor]]:
    """Yields batches of random rows and targets."""
    generator = torch.Generator().manual_seed(0)
    while True:
        x = torch.randn(8, 4, generator=generator)
        yield [x, torch.randn(8, 1, generator=generator)]


class Gan(ByHand):
    """Steps a second network first, then its own, with an optimizer each."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.judge = tanh_net()

    def step_judge(self, loss: Tensor) -> None:
        self._step(1, loss)

    def step_net(self, loss: Tensor) -> None:
        self._step(0, loss)

    def _step(self, index: int, loss: Tensor) -> None:
        optimizers: Any = self.optimizers()
        optimizers[index].zero_grad()
        self.manual_backward(loss)
        optimizers[index].step()

    def loss_of_net(self, batch: list[Tensor]) -> Tensor:
        return self.loss(batch)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
        self.step_judge(squared_error(self.judge(batch[0]), batch[1]))
        self.step_net(self.loss_of_net(batch))

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(n.parameters(), lr=0.1) for n in (self.net, self.judge)]


class BadGradient(Regression):
    """The derivative of one layer is NaN for one batch."""

    def __init__(self, bad: int) -> None:
        first, tanh, *rest = tanh_net()
        super().__init__(nn.Sequential(first, tanh, Root(), *rest))
        self.bad = bad

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.net[2].is_bad = batch_idx == self.bad  # type: ignore[index, union-attr]
        return super().training_step(batch, batch_idx)


class Root(nn.Module):
    """Adds the root of zero, whose derivative is infinite, and NaN times zero."""

    is_bad = False

    def forward(self, x: Tensor) -> Tensor:
        return x + (x * 0.0).sqrt() if self.is_bad else x


class Overflowing(torch.optim.SGD):
    """Its third update is NaN."""

    steps = 0

    def step(self, closure: Any = None) -> Any:
        self.steps += 1
        if self.steps == 3:
            self.param_groups[0]["lr"] = math.nan
        return super().step(closure)


class ByData(torch.optim.SGD):
    """Writes to `param.data`, as older optimizers do."""

    def step(self, closure: Any = None) -> Any:
        loss = closure()
        for param in self.param_groups[0]["params"]:
            param.data.add_(param.grad, alpha=-0.1)
        return loss


class Queueing(torch.optim.SGD):
    """Keeps a queue of the last gradients; its sixth update is NaN."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        with torch.no_grad():
            for param in self.param_groups[0]["params"]:
                queue = self.state[param].setdefault("last", deque(maxlen=6))
                queue.append(param.grad.clone())
                full = math.nan if len(queue) == 6 else 1.0
                param.add_(queue[0] * full, alpha=-0.01)
        return loss


class WithFunction(torch.optim.lr_scheduler.LRScheduler):
    """Has a function among its attributes, and so in its state."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.function = lambda step: 0.9**step
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        return [rate * self.function(self.last_epoch) for rate in self.base_lrs]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the bundles of fits of two ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    paths = {"PYTHONPATH": f"{ROOT}:{HELPERS}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(HELPERS / "distributed_recorder.py")]
    processes = [
        subprocess.Popen(
            [*command, str(folder)],
            env={**os.environ, **paths, **address, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for rank in ("0", "1")
    ]
    errors = [process.communicate(timeout=180)[1] for process in processes]
    assert not any(process.returncode for process in processes), errors
    return folder


@pytest.mark.slow
class TestRanks:
    """The second rank has a NaN in its batch."""

    def test_ddp_names_the_batch_on_its_rank(self, ranks: Path) -> None:
        path = ranks / "ddp" / "step_000002_nonfinite_rank_1"
        facts = read_bundle(path).facts
        assert facts["first"]["where"] == "batch"
        assert facts["rank"] == 1

    def test_ddp_sees_it_in_the_gradients_of_the_others(self, ranks: Path) -> None:
        path = ranks / "ddp" / "step_000002_nonfinite_rank_0"
        trigger = read_bundle(path).facts["trigger"]
        assert trigger["message"] == "NaN or Inf in the gradient norm of step 2."

    def test_shards_leave_out_norms_and_state(self, ranks: Path) -> None:
        path = ranks / "fsdp2" / "step_000002_nonfinite_rank_1"
        bundle = read_bundle(path)
        assert bundle.state is None
        assert bundle.facts["first"]["where"] == "batch"
        assert not any(each.gradients for each in bundle.numbers)

    @pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
    def test_weights_are_bit_equal(self, ranks: Path, strategy: str) -> None:
        digests = [
            json.loads((ranks / f"rank_{rank}.json").read_text())[strategy]
            for rank in (0, 1)
        ]
        for with_recorder, without in digests:
            assert with_recorder == without
