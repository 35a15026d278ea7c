"""Tests of HealthCheck in fits: what it reports, writes, prints and ends, and that it goes on in a resumed run."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fits import (
    SEED,
    ByHand,
    Numbers,
    Regression,
    fit,
    loader,
    runtime_warnings,
    saturated_net,
    tanh_net,
)
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins import MixedPrecision
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from callbacks import HealthCheck, HealthReport
from callbacks.health_check import UnhealthyTraining

pytestmark = pytest.mark.filterwarnings("ignore")


def every_step(**options: Any) -> HealthCheck:
    return HealthCheck(every_n_steps=1, **options)


def slowly(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=1e-3)


def healthy() -> Regression:
    return Regression(tanh_net(), slowly)


def sick() -> Regression:
    return Regression(saturated_net(), slowly)


class Classifier(Regression):
    """Classifies by cross entropy."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.net(x), y)


def classes(count: int = 5) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(80, 4, generator=generator)
    y = torch.randint(0, count, (80,), generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=8)


def rules(check: HealthCheck) -> dict[str, tuple[str, str]]:
    return {each.rule: (each.severity, each.where) for each in check.report.findings}


class TestReport:
    def test_of_a_healthy_training(self) -> None:
        check = every_step()
        fit(healthy, [check])
        assert check.report.verdict == "ok"
        assert check.report.steps == 5
        assert check.latest == {"health/verdict": 0.0}

    def test_of_a_sick_training(self) -> None:
        check = every_step()
        fit(sick, [check])
        assert rules(check)["saturation"] == ("fail", "net.1")
        assert check.latest is not None
        assert check.latest["health/verdict"] == 2.0
        assert check.latest["health/saturation"] == 1.0

    def test_is_there_during_the_fit_and_after_an_exception(self) -> None:
        verdicts: list[str] = []

        class Raises(Callback):
            def on_train_batch_end(self, *_: Any, **__: Any) -> None:
                verdicts.append(check.report.verdict)
                if len(verdicts) == 4:
                    raise ZeroDivisionError

        check = every_step()
        with pytest.raises(ZeroDivisionError):
            fit(sick, [check, Raises()])
        assert verdicts == ["ok", "fail", "fail", "fail"]
        assert check.report.verdict == "fail"
        assert check.report.steps == 4

    def test_as_json_and_markdown(self) -> None:
        check = every_step()
        fit(sick, [check])
        report = json.loads(check.report.to_json())
        assert report == check.report.to_dict()
        assert report["verdict"] == "fail"
        assert report["findings"][0].keys() >= {"rule", "where", "value", "remedy"}
        (row,) = [
            line
            for line in check.report.to_markdown().splitlines()
            if "saturation |" in line
        ]
        assert row.startswith("| fail | saturation | net.1 | 0 |")

    def test_is_empty_again_in_a_second_fit(self) -> None:
        check = every_step()
        fit(sick, [check])
        fit(healthy, [check])
        assert check.report.verdict == "ok"

    def test_of_a_fit_without_steps(self) -> None:
        assert HealthCheck().report == HealthReport()
        assert HealthCheck().report.verdict == "ok"


class TestFacts:
    """What is read from the graph of the loss, from optimizers and from modes."""

    def test_initial_loss_of_a_classifier(self) -> None:
        net = nn.Linear(4, 5)
        with torch.no_grad():
            net.weight *= 100
        check = every_step()
        fit(lambda: Classifier(net, slowly), [check], data=classes())
        assert rules(check)["initial_loss"] == ("fail", "")

    def test_softmax_and_activation_before_the_loss(self) -> None:
        check = every_step()
        net = nn.Sequential(nn.Linear(4, 5), nn.Softmax(-1))
        fit(lambda: Classifier(net, slowly), [check], data=classes())
        assert rules(check) == {"loss_input": ("warn", "")}
        net = nn.Sequential(nn.Linear(4, 5), nn.ReLU())
        fit(lambda: Classifier(net, slowly), [check], data=classes())
        assert rules(check)["output_activation"] == ("warn", "net.1")

    def test_layers_with_nothing_between(self) -> None:
        check = every_step()
        net = nn.Sequential(
            nn.Linear(4, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 5)
        )
        fit(lambda: Classifier(net, slowly), [check], data=classes())
        assert rules(check) == {"linear_stack": ("warn", "net.0")}

    def test_a_bottleneck_is_no_stack(self) -> None:
        check = every_step()
        net = nn.Sequential(
            nn.Linear(4, 2), nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 5)
        )
        fit(lambda: Classifier(net, slowly), [check], data=classes())
        assert check.report.verdict == "ok"

    def test_a_bias_before_a_norm_is_a_note(self) -> None:
        check = every_step()
        net = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5)
        )
        fit(lambda: Classifier(net, slowly), [check], data=classes())
        assert rules(check) == {"bias_before_norm": ("note", "net.0.bias")}
        assert check.report.verdict == "ok"

    def test_a_sigmoid_at_the_output_may_be_saturated(self) -> None:
        net = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())
        with torch.no_grad():
            net[0].weight *= 1000  # type: ignore[operator]
        check = every_step(ignore=["update_low"])
        fit(lambda: Regression(net, slowly), [check])
        assert "saturation" not in rules(check)

    def test_a_gate_may_be_saturated(self) -> None:
        class Gated(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.gate, self.value = nn.Linear(4, 8), nn.Linear(4, 8)
                self.head = nn.Linear(8, 1)
                with torch.no_grad():
                    self.gate.weight *= 1000

            def forward(self, x: Tensor) -> Tensor:
                return self.head(self.gate(x).sigmoid() * self.value(x))

        check = every_step()
        fit(lambda: Regression(Gated(), slowly), [check])
        assert "saturation" not in rules(check)

    def test_parameters_that_the_optimizer_has_not(self) -> None:
        check = every_step()
        fit(lambda: Regression(tanh_net(), lambda params: slowly(params[:-2])), [check])
        assert rules(check)["optimizer_params"] == ("fail", "net.4")

    def test_a_forgotten_zero_grad(self) -> None:
        class Forgets(ByHand):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
                optimizer: Any = self.optimizers()
                self.manual_backward(self.loss(batch))
                optimizer.step()

        check = every_step()
        fit(lambda: Forgets(tanh_net(), slowly), [check])
        assert rules(check)["stale_gradients"] == ("fail", "")
        fit(lambda: ByHand(tanh_net(), slowly), [check])
        assert check.report.verdict == "ok"

    @pytest.mark.parametrize("accumulate", [1, 3])
    def test_accumulation_is_no_forgotten_zero_grad(self, accumulate: int) -> None:
        check = every_step()
        fit(healthy, [check], accumulate_grad_batches=accumulate)
        assert check.report.verdict == "ok"

    def test_an_optimizer_that_never_steps(self) -> None:
        class Forgets(Regression):
            def __init__(self) -> None:
                super().__init__(tanh_net(), slowly)
                self.automatic_optimization = False

            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                loss = super().training_step(batch, batch_idx)
                self.manual_backward(loss)
                return loss

        check = every_step()
        fit(Forgets, [check], max_steps=-1, max_epochs=20)
        (finding,) = check.report.findings
        assert (finding.rule, finding.severity) == ("unmoved", "fail")
        assert "No optimizer has stepped in 64 batches" in finding.message

    def test_parameters_that_weight_decay_alone_moves(self) -> None:
        class ZeroesTooLate(Regression):
            def __init__(self) -> None:
                super().__init__(tanh_net(), decaying)
                self.automatic_optimization = False

            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                loss: Tensor = super().training_step(batch, batch_idx)
                optimizer: Any = self.optimizers()
                self.manual_backward(loss)
                optimizer.zero_grad(set_to_none=False)
                optimizer.step()
                return loss

        def decaying(params: Any) -> torch.optim.Optimizer:
            return torch.optim.SGD(params, lr=1e-3, weight_decay=0.1)

        check = every_step()
        fit(ZeroesTooLate, [check], max_steps=12)
        assert rules(check)["unmoved"] == ("fail", "")

    def test_the_input_of_a_network_without_activation_modules(self) -> None:
        class Functional(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 1)

            def forward(self, x: Tensor) -> Tensor:
                return self.second(torch.relu(self.first(300 + x)))

        check = every_step()
        fit(lambda: Regression(Functional(), slowly), [check], max_steps=2)
        assert rules(check)["input_scale"] == ("warn", "net.first")

    def test_modes(self) -> None:
        class Switches(Callback):
            def on_train_batch_start(
                self, trainer: Any, pl_module: Any, *_: Any, **__: Any
            ) -> None:
                pl_module.net[1].eval()
                pl_module.net[2].eval()

        net = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 5)
        )
        check = every_step()
        fit(lambda: Classifier(net, slowly), [check, Switches()], data=classes())
        assert rules(check)["batchnorm"] == ("warn", "net.1")
        assert rules(check)["eval_mode"] == ("warn", "net.2")

    def test_a_frozen_base_in_eval_mode(self) -> None:
        class Frozen(Classifier):
            def __init__(self) -> None:
                base = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout())
                super().__init__(
                    nn.Sequential(base.requires_grad_(False), nn.Linear(8, 5)), slowly
                )

            def on_train_epoch_start(self) -> None:
                self.net[0].eval()  # type: ignore[index]

            def configure_optimizers(self) -> Any:
                return slowly(self.net[1].parameters())  # type: ignore[index]

        check = every_step()
        fit(Frozen, [check], data=classes(), max_steps=12)
        assert rules(check) == {"frozen": ("note", "")}

    def test_an_unused_parameter(self) -> None:
        class Unused(Classifier):
            def __init__(self) -> None:
                super().__init__(nn.Linear(4, 5), slowly)
                self.spare = nn.Linear(3, 3)

        check = every_step()
        fit(Unused, [check], data=classes(), max_steps=12)
        places = {
            each.where for each in check.report.findings if each.rule == "unmoved"
        }
        assert places == {"spare.weight", "spare.bias"}

    def test_units_that_begin_alike(self) -> None:
        net = tanh_net()
        for layer in (net[0], net[2], net[4]):
            nn.init.constant_(layer.weight, 0.1)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        check = every_step()
        fit(lambda: Regression(net, slowly), [check])
        assert rules(check)["symmetry"][0] == "warn"

    def test_inputs_far_from_unit_scale(self) -> None:
        data = loader()
        data.dataset.tensors[0].mul_(300)  # type: ignore[attr-defined]
        check = every_step()
        fit(
            lambda: Regression(
                nn.Linear(4, 1), lambda params: torch.optim.SGD(params, lr=1e-9)
            ),
            [check],
            data=data,
        )
        assert rules(check)["input_scale"] == ("warn", "net")

    def test_targets_that_the_output_cannot_take(self) -> None:
        class Shifted(Regression):
            def __init__(self, last: nn.Module, factor: float = 1.0) -> None:
                super().__init__(nn.Sequential(nn.Linear(4, 1), last))
                self.factor = factor

            def training_step(self, batch: Any, batch_idx: int) -> Tensor:
                x, y = batch
                return nn.functional.mse_loss(self(x), y * self.factor)

        check = every_step()
        fit(lambda: Shifted(nn.ReLU()), [check], max_steps=1)
        assert rules(check)["output_activation"] == ("warn", "")
        fit(lambda: Shifted(nn.Identity()), [check], max_steps=1)
        assert "output_activation" not in rules(check)
        fit(lambda: Shifted(nn.Identity(), 1e5), [check], max_steps=1)
        assert rules(check)["input_scale"] == ("warn", "")

    def test_a_norm_of_one_value(self) -> None:
        net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        check = every_step()
        fit(
            lambda: Regression(nn.Sequential(net, nn.LayerNorm(1))),
            [check],
            max_steps=1,
        )
        assert rules(check)["batchnorm"] == ("fail", "net.1")
        fit(
            lambda: Regression(nn.Sequential(nn.LayerNorm(4), net)),
            [check],
            max_steps=1,
        )
        assert "batchnorm" not in rules(check)

    def test_a_learning_rate_that_ends_early(self) -> None:
        class Scheduled(Regression):
            def configure_optimizers(self) -> Any:
                optimizer = torch.optim.SGD(self.parameters(), 0.1)
                schedule = torch.optim.lr_scheduler.StepLR(optimizer, self.every, 0.01)
                config = {"scheduler": schedule, "interval": "step"}
                return {"optimizer": optimizer, "lr_scheduler": config}

            every = 10

        check = HealthCheck(every_n_steps=10, figures=False)
        fit(lambda: Scheduled(tanh_net()), [check], max_steps=200)
        assert rules(check)["update_low"] == ("warn", "")
        assert "next to nothing at 4" in check.report.to_markdown()
        Scheduled.every = 90
        fit(lambda: Scheduled(tanh_net()), [check], max_steps=200)
        assert "next to nothing" not in check.report.to_markdown()

    def test_where_nan_began_between_due_steps(self) -> None:
        data = loader()
        data.dataset.tensors[0][8 * 3 + 2, 1] = math.nan  # type: ignore[attr-defined]
        check = HealthCheck()
        with runtime_warnings() as messages:
            fit(healthy, [check], data=data)
        assert rules(check)["nonfinite"] == ("fail", "batch")
        (finding,) = check.report.findings
        assert finding.step == 3
        assert sum("NaN or Inf" in message for message in messages) == 1

    def test_a_nan_in_a_due_step_is_one_finding(self) -> None:
        class Bad(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                x, y = batch
                hidden = self.net[:2](x)  # type: ignore[index]
                if self.global_step == 2:
                    hidden = hidden.sub(5).log()
                return F.mse_loss(self.net[2:](hidden), y)  # type: ignore[index]

        check = every_step()
        fit(lambda: Bad(tanh_net(), slowly), [check])
        (finding,) = check.report.findings
        assert (finding.rule, finding.step, finding.last_step) == ("nonfinite", 2, 4)
        assert "log" in finding.message


class TestOnFail:
    def test_stop_ends_the_fit_after_the_step(self) -> None:
        check = every_step(on_fail="stop")
        trainer, _ = fit(sick, [check])
        assert trainer.global_step == 2
        assert check.report.verdict == "fail"

    def test_raise(self) -> None:
        with pytest.raises(UnhealthyTraining, match="saturation"):
            fit(sick, [every_step(on_fail="raise")])

    @pytest.mark.parametrize("on_fail", ["report", "stop", "raise"])
    def test_a_healthy_fit_goes_on(self, on_fail: str) -> None:
        assert fit(healthy, [every_step(on_fail=on_fail)])[0].global_step == 5

    def test_a_nan_between_due_steps_ends_it_as_well(self) -> None:
        data = loader()
        data.dataset.tensors[0][8 * 3 + 2, 1] = math.nan  # type: ignore[attr-defined]
        trainer, _ = fit(
            healthy, [HealthCheck(on_fail="stop", dense_start=False)], data=data
        )
        assert trainer.global_step == 4


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (
                {"ignore": ["saturations"]},
                "no rule 'saturations'; rules are: nonfinite",
            ),
            ({"ignore": "saturation"}, "a list of rules"),
            ({"ignore": [3]}, "a list of rules"),
            ({"expected_loss": -1}, "a positive number"),
            ({"expected_loss": True}, "a positive number"),
            ({"expected_loss": math.nan}, "a positive number"),
            ({"on_fail": "end"}, "report, stop, raise, got 'end'"),
        ],
    )
    def test_mistakes_are_told_at_once(
        self, arguments: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(ValueError, match=words):
            HealthCheck(**arguments)

    def test_ignore(self) -> None:
        check = every_step(ignore=["saturation:net.*"])
        fit(sick, [check])
        assert "saturation" not in rules(check)

    def test_expected_loss(self) -> None:
        check = every_step(expected_loss=1e-3)
        fit(healthy, [check])
        assert rules(check)["initial_loss"] == ("fail", "")


class TestWriting:
    def test_numbers_and_text_page(self, tmp_path: Path) -> None:
        logger = TensorBoardLogger(tmp_path)
        fit(sick, [every_step()], logger=logger)
        events = EventAccumulator(logger.log_dir).Reload()
        assert [each.value for each in events.Scalars("health/verdict")] == [
            0,
            2,
            2,
            2,
            2,
        ]
        assert [each.step for each in events.Scalars("health/saturation")] == [
            1,
            2,
            3,
            4,
        ]
        texts = events.Tensors("health/text_summary")
        assert b"saturation" in texts[-1].tensor_proto.string_val[0]

    def test_no_text_page_without_figures(self, tmp_path: Path) -> None:
        logger = TensorBoardLogger(tmp_path)
        fit(sick, [every_step(figures=False)], logger=logger)
        events = EventAccumulator(logger.log_dir).Reload()
        assert not events.Tags()["tensors"]

    def test_other_loggers_get_the_numbers(self) -> None:
        logger = Numbers()
        fit(sick, [every_step()], logger=logger)
        assert logger.rows[-1][1]["health/verdict"] == 2

    def test_prints_the_findings_at_the_end(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fit(sick, [every_step()])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("health fail: saturation in net.1 since step 0")
        assert any("->" in line for line in lines)
        fit(healthy, [every_step()])
        assert (
            capsys.readouterr().out == "health ok: nothing found in 5 judged steps.\n"
        )

    @pytest.mark.parametrize("bar", [TQDMProgressBar, RichProgressBar])
    def test_word_in_the_progress_bar(self, bar: Any) -> None:
        words: list[str] = []

        class Reads(Callback):
            def on_train_batch_end(
                self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
            ) -> None:
                metrics = trainer.progress_bar_callback.get_metrics(trainer, pl_module)  # type: ignore[union-attr]
                words.append(metrics["health"])  # type: ignore[arg-type]

        progress = bar()
        fit(sick, [every_step(), Reads(), progress], enable_progress_bar=True)
        assert words == ["ok", "fail", "fail", "fail", "fail"]
        assert "get_metrics" not in vars(progress)


class Asked(Callback):
    """Keeps which quantities are measured of all parameters, step by step."""

    def __init__(self, check: HealthCheck) -> None:
        self.check, self.steps = check, []

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        asked = {each.quantity.name for each in self.check.requests}
        self.steps.append(asked & {"WEIGHT", "WEIGHT_GRAD"})


class TestParametersThatAreKnownToMove:
    """What nothing more can be learned from is not measured again."""

    def test_are_not_measured_again(self) -> None:
        check = every_step()
        asked = Asked(check)
        fit(healthy, [check, asked])
        assert asked.steps[0] == {"WEIGHT", "WEIGHT_GRAD"}
        assert asked.steps[-1] == set()

    def test_the_norm_of_clipped_gradients_is(self) -> None:
        check = every_step()
        asked = Asked(check)
        fit(healthy, [check, asked], gradient_clip_val=0.01)
        assert asked.steps[-1] == {"WEIGHT_GRAD"}
        assert rules(check)["clipping"] == ("note", "")

    @pytest.mark.parametrize(
        ("algorithm", "expected"), [(None, True), ("norm", True), ("value", False)]
    )
    def test_clipping_that_does_nothing_is_found(
        self, algorithm: str | None, expected: bool
    ) -> None:
        class Overrides(Regression):
            def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
                pass

        check = every_step()
        limit = {"gradient_clip_val": 0.01, "gradient_clip_algorithm": algorithm}
        fit(lambda: Overrides(healthy().net), [check], **limit)
        found = {"clipping": ("warn", "")} if expected else {}
        assert rules(check).items() >= found.items()
        assert ("clipping" in rules(check)) == expected

    def test_one_that_does_not_move_is(self) -> None:
        def make() -> Regression:
            module = healthy()
            module.unused = nn.Parameter(torch.ones(3))
            return module

        check = every_step()
        asked = Asked(check)
        fit(make, [check, asked])
        assert asked.steps[-1] == {"WEIGHT", "WEIGHT_GRAD"}

    def test_one_that_is_unfrozen_later_is(self) -> None:
        class Unfreezes(Callback):
            def on_train_batch_start(
                self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
            ) -> None:
                pl_module.net[2].requires_grad_(batch_idx >= 2)

        check = every_step()
        asked = Asked(check)
        fit(healthy, [Unfreezes(), check, asked])
        assert asked.steps[1] == set()
        assert asked.steps[2] == {"WEIGHT", "WEIGHT_GRAD"}

    def test_all_are_under_a_gradient_scaler(self) -> None:
        check = every_step()
        asked = Asked(check)
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        plugin = MixedPrecision("16-mixed", "cpu", scaler)
        fit(healthy, [check, asked], plugins=[plugin])
        assert asked.steps[-1] == {"WEIGHT", "WEIGHT_GRAD"}

    def test_those_of_half_precision_are(self) -> None:
        check = every_step()
        asked = Asked(check)
        fit(lambda: healthy().to(torch.bfloat16), [check, asked], precision="bf16-true")
        assert asked.steps[-1] == {"WEIGHT", "WEIGHT_GRAD"}


def test_a_resumed_run_goes_on_with_the_report(tmp_path: Path) -> None:
    first = every_step()
    trainer, _ = fit(sick, [first], max_steps=3)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second = every_step()
    torch.manual_seed(SEED)
    trainer = Trainer(
        callbacks=[second],
        max_steps=5,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(healthy(), loader(), ckpt_path=tmp_path / "last.ckpt")
    (finding,) = [each for each in second.report.findings if each.rule == "saturation"]
    assert (finding.step, finding.last_step) == (0, 4)
    assert second.report.steps == 5
