"""Tests of diagnose: its numbers, what it leaves untouched, and the models that it can try."""

import copy
import json
import logging
import pickle
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from fits import QUIET, SEED, ByHand, Regression, fit, loader, tanh_net
from lightning.pytorch import (
    Callback,
    LightningDataModule,
    Trainer,
    seed_everything,
)
from lightning.pytorch.demos.boring_classes import ManualOptimBoringModel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from callbacks import Diagnosis, HealthReport, UpdateRatio, diagnose
from callbacks.diagnose import without_noise, worst_severities
from callbacks.health.finding import Finding

ROOT = Path(__file__).parents[2]


def tried(model: Any, data: Any = None, **options: Any) -> Diagnosis:
    """Diagnoses on the CPU, with a few steps."""
    return diagnose(model, data, **{"steps": 3, "accelerator": "cpu", **options})


class Data(LightningDataModule):
    """Shuffled rows, with generators and attributes that a fit changes."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(5)
        self.numpy = np.random.default_rng(5)
        self.splits: dict[str, Any] = {}
        self.stages: list[str] = []

    def setup(self, stage: str) -> None:
        self.stages.append(stage)
        self.splits["train"] = loader().dataset
        self.ready = True

    def train_dataloader(self) -> DataLoader[Any]:
        self.numpy.random()
        return DataLoader(
            self.splits["train"], 8, shuffle=True, generator=self.generator
        )


class Classifier(Regression):
    """Classifies rows of four numbers into five classes."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self.net(x), y)
        self.log("loss", loss)
        self.logger.experiment.add_scalar("loss", loss, batch_idx)  # type: ignore[union-attr]
        return loss


def classes(rows: int = 64) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(rows, 4, generator=generator)
    y = torch.randint(5, (rows,), generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=16)


def classifier() -> Classifier:
    return Classifier(nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 5)))


def finding(severity: Any, where: str, rule: str = "rule") -> Finding:
    return Finding(rule, severity, where, 0, 0, None, None, "", "")


class TestNumbers:
    def test_are_those_of_pytorch(self) -> None:
        model: Any = Regression(tanh_net())
        diagnosis = tried(model, loader(), steps=1)
        net, (x, y) = copy.deepcopy(model.net), next(iter(loader()))
        outputs: list[Tensor] = []
        for layer in net:
            x = layer(x)
            x.retain_grad()
            outputs.append(x)
        loss = (x - y).square().mean()
        loss.backward()
        assert diagnosis.initial_loss == pytest.approx(loss.item())
        assert [row.layer for row in diagnosis.rows] == [f"net.{i}" for i in range(5)]
        for row, output in zip(diagnosis.rows, outputs, strict=True):
            assert row.shape == tuple(output.shape)
            assert row.mean == pytest.approx(output.mean().item(), abs=1e-7)
            assert row.std == pytest.approx(output.std().item())
            assert output.grad is not None
            assert row.grad_std == pytest.approx(output.grad.std().item())
        weight = net[0].weight
        assert weight.grad is not None
        grad_data = weight.grad.std() / weight.std()
        after = weight - 0.1 * weight.grad
        ratio = (0.1 * weight.grad).std() / after.std()
        first = diagnosis.rows[0]
        assert (first.kind, first.weight) == ("Linear", "net.0.weight")
        assert first.grad_data == pytest.approx(grad_data.item())
        assert first.update_ratio == pytest.approx(ratio.log10().item(), abs=1e-4)

    def test_saturation_is_of_step_0_and_dead_units_of_all(self) -> None:
        model: Any = Regression(
            nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
        )
        with torch.no_grad():
            model.net[0].bias[0] = -100.0
        rows = tried(model, loader()).rows
        x, _ = next(iter(loader()))
        zeros = (model.net[:2](x) == 0).float().mean().item()
        assert rows[1].saturated == pytest.approx(zeros)
        assert rows[1].dead == pytest.approx(1 / 3)
        assert rows[0].saturated is rows[0].dead is None

    def test_update_ratio_is_a_median(self) -> None:
        seed_everything(SEED, verbose=False)
        rows = tried(Regression(tanh_net()), loader(), steps=4).rows
        updates = UpdateRatio(every_n_steps=1, figures=False)
        fit(lambda: Regression(tanh_net()), [updates], max_steps=4)
        _, ratios = updates.history["update_ratio/net.2.weight"]
        assert len(set(ratios)) == 4
        assert rows[2].update_ratio == pytest.approx(median(ratios))

    def test_a_norm_has_no_update_ratio(self) -> None:
        net = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 1))
        rows = tried(Regression(net), loader()).rows
        assert rows[1].weight == "net.1.weight"
        assert rows[1].update_ratio is None
        assert rows[0].update_ratio is not None

    def test_functions_and_attention_are_rows(self) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first = nn.Linear(4, 8)
                self.attention = nn.MultiheadAttention(8, 2)
                self.last = nn.Linear(8, 1)

            def forward(self, x: Tensor) -> Tensor:
                h = torch.tanh(self.first(x))
                return self.last(self.attention(h, h, h)[0])

        rows = tried(Regression(Net()), loader()).rows
        by_name = {row.layer: row for row in rows}
        names = ["net.first", "net.tanh", "net.attention.0", "net.last"]
        assert [row.layer for row in rows if "attention.1" not in row.layer] == names
        assert by_name["net.tanh"].kind == "Tanh"
        assert by_name["net.tanh"].shape == (8, 8)
        assert by_name["net.attention.0"].weight == "net.attention.in_proj_weight"

    def test_expected_loss(self) -> None:
        diagnosis = tried(classifier(), classes())
        assert diagnosis.expected_loss == pytest.approx(np.log(5))
        assert tried(Regression(tanh_net()), loader()).expected_loss is None
        given = tried(Regression(tanh_net()), loader(), expected_loss=2.0)
        assert given.expected_loss == 2.0

    def test_nan(self) -> None:
        class Broken(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                return super().training_step(batch, batch_idx) * float("nan")

        diagnosis = tried(Broken(tanh_net()), loader())
        assert diagnosis.initial_loss is not None
        assert np.isnan(diagnosis.initial_loss)
        assert np.isnan(diagnosis.rows[0].grad_std or 0)
        assert json.loads(diagnosis.to_json())["initial_loss"] is None
        assert "initial loss nan" in str(diagnosis)
        assert diagnosis.metrics()["grad, largest / smallest"] == ""
        assert [finding.rule for finding in diagnosis.findings] == ["nonfinite"]
        assert not diagnosis.messages

    def test_verdict_of_a_layer(self) -> None:
        model: Any = Regression(tanh_net())
        with torch.no_grad():
            model.net[0].weight *= 100
        diagnosis = tried(model, loader(), steps=16)
        verdicts = {row.layer: row.verdict for row in diagnosis.rows}
        assert (verdicts["net.1"], verdicts["net.3"]) == ("fail", "ok")
        assert "saturation" in [finding.rule for finding in diagnosis.findings]
        assert diagnosis.verdict == "fail"
        ignored = tried(model, loader(), steps=16, ignore=["saturation"])
        assert {row.verdict for row in ignored.rows if row.layer == "net.1"} == {"ok"}

    def test_a_noisy_loss_is_no_rise(self) -> None:
        torch.manual_seed(29)  # the fourth batch has three times the loss of the first
        diagnosis = tried(Regression(tanh_net()), loader(), steps=16)
        assert diagnosis.verdict == "ok"

    def test_a_loss_that_rises(self) -> None:
        model = Regression(tanh_net(), lambda params: torch.optim.SGD(params, lr=2.0))
        diagnosis = tried(model, loader(), steps=16)
        rules = [each.rule for each in diagnosis.findings]
        assert "loss_diverges" in rules

    def test_rise(self) -> None:
        report = HealthReport((finding("fail", "", "loss_diverges"),), 8)
        assert without_noise(report, [1.0, 3.0] * 4).verdict == "ok"
        assert without_noise(report, [1.0] * 4 + [1.7] * 4).verdict == "fail"
        assert without_noise(report, [1.0] + [9.0] * 15).verdict == "fail"
        assert without_noise(report, [1.0, float("nan")]).verdict == "fail"
        assert without_noise(report, [1.0]).verdict == "ok"
        negative = replace(report.findings[0], value=-1.0)
        assert without_noise(HealthReport((negative,)), [-1.0] * 8).verdict == "fail"

    def test_severities(self) -> None:
        findings = (finding("fail", "a"), finding("warn", "a"), finding("note", "b"))
        assert worst_severities(findings) == {"a": "fail"}


class Touching(Regression):
    """Draws random numbers, and has buffers, hooks and dropout."""

    def __init__(self) -> None:
        layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        super().__init__(nn.Sequential(layers, nn.Linear(8, 1)))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        noise = random.random() + np.random.rand() + torch.rand(()).item()
        return super().training_step(batch, batch_idx) * (1 + noise)

    def on_train_end(self) -> None:
        Path("left.txt").write_text("written at the end")

    def on_train_epoch_end(self) -> None:
        Path("epoch.txt").write_text("written at the end of an epoch")


def state_of(model: nn.Module) -> dict[str, Any]:
    """Returns all that a trial could change of a model."""
    state: dict[str, Any] = {
        name: value.clone() for name, value in model.state_dict().items()
    }
    for name, param in model.named_parameters():
        state[f"{name} grad"] = None if param.grad is None else param.grad.clone()
    for name, module in model.named_modules():
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
        state[f"{name} hooks"] = (module.training, hooks, sorted(vars(module)))
    return state


def assert_equal(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before.keys() == after.keys()
    for name, value in before.items():
        if isinstance(value, Tensor):
            assert torch.equal(value, after[name]), name
        else:
            assert value == after[name], name


class TestUntouched:
    def test_model(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        model: Any = Touching()
        model.net[1].eval()
        model.net[0][0].weight.grad = torch.ones(8, 4)
        before = state_of(model)
        tried(model, loader())
        assert_equal(before, state_of(model))
        assert model._trainer is None
        assert not list(tmp_path.iterdir())

    def test_model_that_was_trained(self) -> None:
        model: Any = Regression(tanh_net())
        trainer = Trainer(**QUIET, max_steps=2)
        trainer.fit(model, loader())
        before = state_of(model)
        tried(model, loader())
        assert model.trainer is trainer
        assert_equal(before, state_of(model))

    def test_random_numbers(self) -> None:
        model = Touching()
        state, python = torch.get_rng_state(), random.getstate()
        numpy = pickle.dumps(np.random.get_state())
        tried(model, loader())
        assert random.getstate() == python
        assert pickle.dumps(np.random.get_state()) == numpy
        assert torch.equal(torch.get_rng_state(), state)

    def test_random_numbers_after_an_error(self) -> None:
        class Failing(Touching):
            def training_step(self, batch: Any, batch_idx: int) -> Tensor:
                super().training_step(batch, batch_idx)
                raise ZeroDivisionError

        model = Failing()
        state = torch.get_rng_state()
        with pytest.raises(ZeroDivisionError):
            tried(model, loader())
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.filterwarnings("ignore:.*not set up.*")
    def test_datamodule(self) -> None:
        data = Data()
        generator, numpy = data.generator.get_state(), data.numpy.bit_generator.state
        attributes = {**vars(data), "stages": [], "splits": {}}
        tried(Regression(tanh_net()), data)
        assert torch.equal(data.generator.get_state(), generator)
        assert data.numpy.bit_generator.state == numpy
        assert vars(data) == attributes
        assert data.trainer is None

    def test_dataloader(self) -> None:
        generator = torch.Generator().manual_seed(5)
        data = DataLoader(loader().dataset, 8, shuffle=True, generator=generator)
        state, attributes = generator.get_state(), dict(vars(data))
        tried(Regression(tanh_net()), data)
        assert torch.equal(generator.get_state(), state)
        assert vars(data) == attributes

    def test_dataset_attributes(self) -> None:
        class Counting(TensorDataset):
            reads = 0

            def __getitem__(self, index: int) -> Any:
                self.reads = self.reads + 1
                return super().__getitem__(index)

        dataset = Counting(*loader().dataset.tensors)  # type: ignore[attr-defined]
        tried(Regression(tanh_net()), DataLoader(dataset, 8))
        assert list(vars(dataset)) == ["tensors"]

    def test_nothing_is_printed(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        logger = logging.getLogger("lightning.pytorch")
        logger.setLevel(logging.INFO)
        try:
            tried(classifier(), classes(), steps=16)
            assert logger.level == logging.INFO
        finally:
            logger.setLevel(logging.ERROR)
        assert capsys.readouterr() == ("", "")
        assert not caplog.records
        assert not list(tmp_path.iterdir())

    def test_warnings_of_the_model_are_issued(self) -> None:
        class Warning(Regression):  # noqa: A001
            def training_step(self, batch: Any, batch_idx: int) -> Tensor:
                warnings.warn("of the model", UserWarning, stacklevel=1)
                return super().training_step(batch, batch_idx)

        with pytest.warns(UserWarning, match="of the model"):
            tried(Warning(tanh_net()), loader())

    def test_warnings_of_the_instruments_are_messages(self) -> None:
        class Repeated(ByHand):
            def training_step(self, batch: Any, batch_idx: int) -> None:
                super().training_step(batch, batch_idx)
                super().training_step(batch, batch_idx)

        messages = tried(Repeated(tanh_net()), loader()).messages
        assert any("moved more than once" in message for message in messages)


class Gan(ByHand):
    """Two networks, two losses, two optimizers."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4)))
        self.critic = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(), nn.Linear(8, 1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        for optimizer, sign in zip(self.optimizers(), (1, -1), strict=True):  # type: ignore[arg-type]
            fake = self.critic(self.net(torch.randn(8, 2)))
            loss = sign * (F.softplus(fake) - F.softplus(self.critic(batch[0]))).mean()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    def configure_optimizers(self) -> Any:
        nets = (self.net, self.critic)
        return [torch.optim.Adam(net.parameters(), 1e-3) for net in nets]


class Scheduled(Regression):
    """Needs the length of the training for its schedule."""

    steps: ClassVar[float] = 0

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        steps = self.trainer.estimated_stepping_batches
        Scheduled.steps = steps
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, int(steps))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Plateau(Regression):
    """Lowers its rate by a metric of a validation that there is not."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"},
        }


class Configured(Regression):
    """Makes its network when a Trainer asks for it."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())

    def configure_model(self) -> None:
        if isinstance(self.net, nn.Identity):
            self.net = tanh_net()


class WithCallbacks(Regression):
    """Has a callback that writes a file."""

    def configure_callbacks(self) -> list[Callback]:
        class Writing(Callback):
            def on_train_start(self, trainer: Any, pl_module: Any) -> None:
                raise AssertionError

        return [Writing()]


def lazy() -> Regression:
    return Regression(nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(1)))


def compiled() -> Regression:
    return Regression(torch.compile(tanh_net()))  # type: ignore[arg-type]


def compiled_in_place() -> Regression:
    model = Regression(tanh_net())
    model.net.compile()
    return model


MODELS: dict[str, tuple[Callable[[], Any], int]] = {
    "gan": (Gan, 10),  # with four calls of softplus
    "by hand": (lambda: ByHand(tanh_net()), 5),
    "schedule": (lambda: Scheduled(tanh_net()), 5),
    "plateau": (lambda: Plateau(tanh_net()), 5),
    "configure_model": (Configured, 5),
    "callbacks": (lambda: WithCallbacks(tanh_net()), 5),
    "lazy": (lazy, 3),
    "compiled network": (compiled, 5),
    "compiled in place": (compiled_in_place, 5),
    "compiled model": (lambda: torch.compile(Regression(tanh_net())), 5),
}


class TestModels:
    @pytest.mark.parametrize("name", MODELS)
    def test_can_be_tried(self, name: str) -> None:
        make, layers = MODELS[name]
        diagnosis = tried(make(), loader(), steps=7)  # more than an epoch of 5 batches
        assert diagnosis.report.steps == 7
        assert len(diagnosis.rows) == layers
        assert not diagnosis.messages
        with_weight = [row for row in diagnosis.rows if row.weight]
        assert all(row.update_ratio is not None for row in with_weight)
        assert all(row.shape is not None for row in diagnosis.rows)

    def test_a_schedule_is_that_of_the_whole_training(self) -> None:
        tried(Scheduled(tanh_net()), loader(), max_epochs=20)
        assert Scheduled.steps == 100

    def test_several_losses_are_no_initial_loss(self) -> None:
        assert tried(Gan(), loader()).initial_loss is None
        assert tried(ManualOptimBoringModel()).initial_loss is not None

    def test_accumulation(self) -> None:
        batches: list[int] = []

        class Counting(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                batches.append(batch_idx)
                return super().training_step(batch, batch_idx)

        diagnosis = tried(
            Counting(tanh_net()), loader(), accumulate_grad_batches=2, steps=2
        )
        assert diagnosis.report.steps == 2
        assert batches == [0, 1, 2, 3]

    def test_an_iterable_dataset(self) -> None:
        class Stream(IterableDataset[Any]):
            def __iter__(self) -> Any:
                while True:
                    yield torch.zeros(4), torch.zeros(1)

        diagnosis = tried(Regression(tanh_net()), DataLoader(Stream(), batch_size=2))
        assert diagnosis.report.steps == 3

    def test_attributes_of_parameters_are_copied(self) -> None:
        class Annotated(Regression):
            def configure_optimizers(self) -> Any:
                params: list[Any] = list(self.parameters())
                rates = [{"params": [param], "lr": param.rate} for param in params]
                return torch.optim.SGD(rates, lr=0.1)

        model: Any = Annotated(tanh_net())
        for param in model.parameters():
            param.rate = 0.1  # type: ignore[attr-defined]
        assert tried(model, loader()).report.steps == 3


class TestErrors:
    def test_a_model_that_cannot_be_copied(self) -> None:
        model: Any = Regression(tanh_net())
        model.net[2].lines = (line for line in ())  # a generator
        with pytest.raises(ValueError, match=r"cannot be copied.*net\.2\.lines"):
            tried(model, loader())

    def test_no_lightning_module(self) -> None:
        with pytest.raises(ValueError, match="must be a LightningModule, got Sequen"):
            tried(tanh_net(), loader())

    @pytest.mark.parametrize("steps", [0, -1, 1.5, True])
    def test_steps(self, steps: Any) -> None:
        with pytest.raises(ValueError, match="steps must be a whole number"):
            tried(Regression(tanh_net()), loader(), steps=steps)

    def test_arguments_that_a_trial_chooses(self) -> None:
        with pytest.raises(ValueError, match="logger: a trial has no choice"):
            tried(Regression(tanh_net()), loader(), logger=True)

    def test_an_unknown_rule(self) -> None:
        with pytest.raises(ValueError, match="no rule 'nonsense'"):
            tried(Regression(tanh_net()), loader(), ignore=["nonsense"])

    @pytest.mark.filterwarnings("ignore:Total length of .* is zero")
    def test_no_batch(self) -> None:
        empty = DataLoader(TensorDataset(torch.zeros(0, 4), torch.zeros(0, 1)))
        with pytest.raises(ValueError, match="nothing could be tried"):
            tried(Regression(tanh_net()), empty)


OLD_NAME = """
import sys
sys.modules["lightning"] = None
from pytorch_lightning.demos.boring_classes import BoringModel
from callbacks import diagnose
print(len(diagnose(BoringModel(), steps=2, accelerator="cpu").rows))
"""

BOTH_NAMES = """
import lightning.pytorch
from callbacks import diagnose
from pytorch_lightning.demos.boring_classes import BoringModel
print(len(diagnose(BoringModel(), steps=2, accelerator="cpu").rows))
"""


@pytest.mark.parametrize("program", [OLD_NAME, BOTH_NAMES], ids=["old", "both"])
def test_the_other_name_of_lightning(program: str) -> None:
    # Not imported here, where it would get the messages of other tests.
    if find_spec("pytorch_lightning") is None:
        pytest.skip("needs pytorch_lightning")
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.stdout == "1\n", process.stderr
