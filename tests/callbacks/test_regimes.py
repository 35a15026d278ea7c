"""Every regime that a project may train in: real fits of small models, beside figures computed in another way."""

import copy
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import ALL, Numbers, Recorder, Regression, every_step, fit, loader, runtime_warnings, tanh_net
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

import callbacks
from callbacks import ActivationHistogram, GradStats, UpdateRatio

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
]
Said = dict[str, Any]


def watch(make: Callable[[], LightningModule], layers: list[str] | None = None, **options: Any) -> dict[int, Said]:
    """What all instruments say of each step."""
    recorder = Recorder()
    fit(make, [*every_step(figures=False, layers=layers), recorder], **options)
    said: dict[int, Said] = {}
    for steps in recorder.said.values():
        for step, tags in steps.items():
            said.setdefault(step, {}).update(tags)
    return said


def numbers(said: Said, *plots: str) -> dict[str, float]:
    """The scalars, of some plots alone if any are named."""
    return {
        tag: value
        for tag, value in said.items()
        if isinstance(value, float) and (not plots or tag.split("/")[0] in plots)
    }


def same(one: dict[str, float], other: dict[str, float], rel: float = 1e-5) -> None:
    assert one == {tag: pytest.approx(value, rel=rel, abs=1e-7) for tag, value in other.items()}


class TestOptimization:
    def test_two_optimizers_by_hand(self) -> None:
        """Of a GAN, each network's gradients are read when its own optimizer steps."""

        class GAN(LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.automatic_optimization = False
                self.generator = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
                self.critic = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(), nn.Linear(8, 1))
                self.expected: dict[str, float] = {}
                self.outputs: list[Tensor] = []

            def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
                of_generator, of_critic = self.optimizers()  # type: ignore[misc]
                self.expected, self.outputs = {}, []
                fake = self.generator(batch[0])
                of_critic.zero_grad()
                self.manual_backward((self.critic(fake.detach()) - self.critic(batch[0] * 2)).mean())
                self.note("critic", self.critic)
                of_critic.step()
                of_generator.zero_grad()
                self.manual_backward(-self.critic(self.generator(batch[0])).mean())  # leaves gradients on the critic
                self.note("generator", self.generator)
                of_generator.step()

            def note(self, prefix: str, net: nn.Module) -> None:
                for name, param in net.named_parameters(prefix=prefix):
                    assert param.grad is not None
                    if param.ndim == 2:
                        self.expected[f"weight_grad_std/{name}"] = param.grad.double().std().item()

            def configure_optimizers(self) -> list[torch.optim.Optimizer]:  # type: ignore[override]
                return [
                    torch.optim.SGD(self.generator.parameters(), lr=0.1),
                    torch.optim.Adam(self.critic.parameters(), lr=0.01),
                ]

        class Compares(Callback):
            compared = 0

            def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
                gradients, updates, activations = trainer.callbacks[:3]  # type: ignore[attr-defined]
                assert gradients.latest_step == Compares.compared
                same(numbers(gradients.latest, "weight_grad_std"), pl_module.expected)
                assert len(numbers(updates.latest, "update_ratio")) == 4
                # The generator is called twice in a batch, the critic three times.
                assert activations.latest["activation/generator.1"].moments.count == 2 * 8 * 8
                assert activations.latest["activation/critic.1"].moments.count == 3 * 8 * 8
                Compares.compared += 1

        watched = [kind(every_n_steps=1, figures=False) for kind in (GradStats, UpdateRatio, ActivationHistogram)]
        fit(GAN, [*watched, Compares()], max_steps=10)
        assert Compares.compared == 5

    @pytest.mark.parametrize("lightnings", [True, False])
    def test_accumulation_by_hand(self, lightnings: bool) -> None:
        """A step is then of all batches until an optimizer steps, Lightning's or one that it does not know of."""

        class EveryThird(Regression):
            def __init__(self) -> None:
                super().__init__(tanh_net())
                self.automatic_optimization = False

            def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
                self.manual_backward(super().training_step(batch, batch_idx) / 3)
                if batch_idx % 3 == 2:
                    optimizer = self.optimizers(use_pl_optimizer=lightnings)
                    optimizer.step()  # type: ignore[union-attr]
                    optimizer.zero_grad()  # type: ignore[union-attr]

        numbers = Numbers()
        watched = [kind(every_n_steps=1, figures=False) for kind in (GradStats, UpdateRatio, ActivationHistogram)]
        with runtime_warnings() as warned:
            fit(EveryThird, watched, logger=numbers, max_steps=-1, max_epochs=1, data=loader(rows=48))
        said: dict[int, set[str]] = {}
        for step, tags in numbers.rows:
            said.setdefault(step or 0, set()).update(tag for tag in tags if "/" in tag)
        assert set(said) - {0} == {3} or set(said) == {0, 3}
        assert "update_ratio/net.0.weight" in said[0] & said[3]
        assert ("weight_grad_std/net.0.weight" in said[3]) == lightnings
        assert (watched[2].latest or {})["activation/net.1"].moments.count == 3 * 64  # type: ignore[union-attr]
        assert not warned or not lightnings

    def test_lbfgs_is_looked_at_where_the_step_begins(self) -> None:
        """It evaluates the loss several times; only the first is of the parameters before the step."""

        def lbfgs(params: Any) -> torch.optim.Optimizer:
            return torch.optim.LBFGS(params, lr=0.1, max_iter=4)

        plots = (
            "activation_mean",
            "activation_std",
            "activation_grad_std",
            "weight_grad_std",
            "weight_std",
            "saturation",
        )
        by_lbfgs = watch(lambda: Regression(tanh_net(), lbfgs), max_steps=1)[0]
        by_sgd = watch(lambda: Regression(tanh_net()), max_steps=1)[0]
        same(numbers(by_lbfgs, *plots), numbers(by_sgd, *plots))
        assert by_lbfgs["activation/net.1"].moments.count == 8 * 8

    def test_a_short_last_window_of_accumulation(self) -> None:
        said = watch(lambda: Regression(tanh_net()), accumulate_grad_batches=2, max_steps=6)
        assert [said[step]["activation/net.1"].moments.count for step in range(6)] == [128, 128, 64] * 2

    def test_a_parameter_without_gradient(self) -> None:
        class Unused(Regression):
            def __init__(self) -> None:
                super().__init__(tanh_net())
                self.spare = nn.Linear(3, 3)

        said = watch(Unused)[0]
        assert "weight_std/spare.weight" in said
        assert not [tag for tag in said if "spare" in tag and ("grad" in tag or "update" in tag)]

    def test_a_step_that_is_skipped_by_hand(self) -> None:
        class EveryOther(Regression):
            def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, closure: Any = None) -> None:  # type: ignore[override]
                if batch_idx % 2 == 0:
                    super().optimizer_step(epoch, batch_idx, optimizer, closure)
                else:
                    closure()

        numbers, updates = Numbers(), UpdateRatio(every_n_steps=1, figures=False)
        watched = [updates, ActivationHistogram(every_n_steps=1, figures=False)]
        fit(lambda: EveryOther(tanh_net()), watched, logger=numbers, max_steps=2, max_epochs=1)
        said = {step: {tag for tag in tags if "/" in tag} for step, tags in numbers.rows if tags}
        assert "activation_std/net.1" in said[1]
        for line in updates._ratios.values():
            assert [ratio is None for ratio in line] == [False, True]
        assert set(updates.unmoved.values()) == {"no step"}


class TestPrecision:
    @pytest.mark.parametrize(("precision", "rel"), [("64-true", 1e-4), ("bf16-mixed", 0.05), ("bf16-true", 0.05)])
    def test_figures_are_those_of_single_precision(self, precision: Any, rel: float) -> None:
        plots = ("activation_std", "activation_grad_std", "weight_std", "weight_grad_std", "grad_data_ratio")
        plain = numbers(watch(lambda: Regression(tanh_net()), max_steps=1)[0], *plots)
        other = numbers(watch(lambda: Regression(tanh_net()), max_steps=1, precision=precision)[0], *plots)
        same(other, plain, rel)

    @pytest.mark.parametrize("fused", [False, True])
    def test_a_scaler_that_skips_a_step(self, fused: bool) -> None:
        class Overflows(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                loss = super().training_step(batch, batch_idx)
                return loss * math.inf if self.trainer.global_step == 1 else loss

        def adam(params: Any) -> torch.optim.Optimizer:
            return torch.optim.Adam(params, lr=0.01, fused=fused)

        plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0))
        with runtime_warnings() as warned:
            said = watch(lambda: Overflows(tanh_net(), adam), plugins=[plugin], max_steps=4)
        assert warned == []  # an infinity is how a scaler finds its scale
        assert said[1]["nonfinite/net.0.weight"] == 32
        assert not numbers(said[1], "update_ratio")
        assert len(numbers(said[2], "update_ratio")) == 3
        assert all(math.isfinite(value) for step in said.values() for value in numbers(step).values())


class TestShapes:
    @pytest.mark.parametrize("reentrant", [True, False])
    def test_checkpointing_counts_nothing_twice(self, reentrant: bool) -> None:
        class Net(nn.Module):
            def __init__(self, saves_memory: bool) -> None:
                super().__init__()
                self.first = nn.Linear(4, 8)
                self.block = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh())
                self.head, self.saves_memory = nn.Linear(8, 1), saves_memory

            def forward(self, x: Tensor) -> Tensor:
                h = self.first(x)
                for _ in range(2):
                    h = checkpoint(self.block, h, use_reentrant=reentrant) if self.saves_memory else self.block(h)
                return self.head(h)

        plain = watch(lambda: Regression(Net(False)), ["*"], max_steps=3)
        saved = watch(lambda: Regression(Net(True)), ["*"], max_steps=3)
        for step in range(3):
            same(numbers(saved[step]), numbers(plain[step]))
            for tag, value in plain[step].items():
                if not isinstance(value, float):
                    assert saved[step][tag].counts.tolist() == value.counts.tolist()

    def test_attention_and_its_tuples(self) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 1)

            def forward(self, x: Tensor) -> Tensor:
                return self.head(self.attention(x, x, x)[0])

        said = watch(lambda: Regression(Net()), ["*"], data=loader((6, 4)))[0]
        assert said["activation/net.attention.0"].moments.count == 8 * 6 * 4
        assert said["activation/net.attention.1"].moments.count == 8 * 6 * 6  # the weights
        assert "activation/net.attention.out_proj" not in said  # is never called as a module

    def test_parametrizations(self) -> None:
        said = watch(lambda: Regression(nn.Sequential(weight_norm(nn.Linear(4, 4)), nn.Tanh(), nn.Linear(4, 1))))[0]
        assert "update_ratio/net.0.parametrizations.weight.original1" in said

    def test_batches_of_nothing(self) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = tanh_net()

            def forward(self, x: Tensor) -> Tensor:
                self.net(x[:0])
                return self.net(x)

        said = watch(lambda: Regression(Net()))[0]
        assert said["activation/net.net.1"].moments.count == 64
        assert said["dead_units/net.net.1"] == 0.0

    def test_only_batches_of_nothing(self) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer, self.tanh, self.head = nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)

            def forward(self, x: Tensor) -> Tensor:
                return self.head(x) + self.tanh(self.layer(x[:0])).sum()

        said = watch(lambda: Regression(Net()))[0]
        assert not [tag for tag in said if "net.tanh" in tag]


def compiled(how: str) -> LightningModule:
    module = Regression(tanh_net())
    if how == "submodule":
        module.net = torch.compile(module.net, backend="aot_eager")  # type: ignore[assignment]
    elif how == "in place":
        module.net.compile(backend="aot_eager")
    elif how == "layer in place":
        for layer in module.net:  # type: ignore[union-attr]
            layer.compile(backend="aot_eager")
    elif how == "whole":
        return torch.compile(module, backend="aot_eager")  # type: ignore[return-value]
    return module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["submodule", "in place", "layer in place", "whole"])
class TestCompiled:
    def test_parameters_are_measured_and_layers_left_out_with_a_word(self, how: str) -> None:
        plots = ("weight_std", "weight_grad_std", "grad_data_ratio", "grad_norm", "update_ratio")
        with runtime_warnings() as warned:
            said = watch(lambda: compiled(how), max_steps=4, val=loader(), num_sanity_val_steps=2)
        plain = watch(lambda: compiled("not"), max_steps=4)
        for step in range(4):
            same(numbers(said[step], *plots), numbers(plain[step], *plots))
            assert not [tag for tag in said[step] if tag.startswith(("activation", "saturation", "dead"))]
        assert sum("compiled, which no hook can see: net.1, net.3" in line for line in warned) == 3

    def test_graphs_are_those_of_a_bare_fit(self, how: str) -> None:
        def graphs(*callbacks: Callback) -> dict[str, int]:
            torch._dynamo.reset()
            torch._dynamo.utils.counters.clear()
            fit(lambda: compiled(how), callbacks, max_steps=20)
            return dict(torch._dynamo.utils.counters["stats"])

        with runtime_warnings():
            assert graphs(*every_step(figures=False)) == graphs()


class TestTransforms:
    """Layers called within torch.func: a penalty on a gradient, a network that is given its own derivative."""

    def test_within_grad(self) -> None:
        class Penalized(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                slope = torch.func.grad(lambda x: self.net(x).sum())(batch[0])
                return super().training_step(batch, batch_idx) + slope.square().mean()

        said = watch(lambda: Penalized(tanh_net()), max_steps=2)
        plain = watch(lambda: Regression(tanh_net()), max_steps=2)
        for plot in ("activation", "saturation"):  # each layer is called twice with the same batch
            same(numbers(said[0], f"{plot}_mean", plot), numbers(plain[0], f"{plot}_mean", plot))
        assert said[0]["activation/net.1"].moments.count == 2 * plain[0]["activation/net.1"].moments.count

    def test_within_vmap(self) -> None:
        class PerExample(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                return torch.func.vmap(lambda x: self.net(x).square().mean())(batch[0]).mean()

        with runtime_warnings() as warned:
            said = watch(lambda: PerExample(tanh_net()), max_steps=2)
        assert sum("within torch.func.vmap" in line for line in warned) == 2
        assert "activation_mean/net.1" not in said[0]
        assert "update_ratio/net.0.weight" in said[0]


class TestTrainer:
    def test_averaged_weights(self) -> None:
        """The average is a copy made at setup, and swapped in for validation."""
        options: dict[str, Any] = {"max_steps": 10, "val_check_interval": 2}

        class Validated(Regression):
            def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
                self.training_step(batch, batch_idx)

        recorder, averaged = Recorder(), EMAWeightAveraging(decay=0.5)
        fit(lambda: Validated(tanh_net()), [*every_step(figures=False), averaged, recorder], val=loader(), **options)
        plain = watch(lambda: Validated(tanh_net()), val=loader(), **options)
        for kind in recorder.said.values():
            for step, tags in kind.items():
                same(numbers(tags), {tag: value for tag, value in numbers(plain[step]).items() if tag in tags})
        for module in averaged._average_model.modules():  # type: ignore[union-attr]
            assert not module._forward_hooks

    def test_spawned_processes(self, tmp_path: Path) -> None:
        instruments = every_step(figures=False)
        logger = TensorBoardLogger(tmp_path)
        fit(lambda: Regression(tanh_net()), instruments, strategy="ddp_spawn", devices=2, logger=logger)
        (written,) = tmp_path.rglob("events*")  # by one of the two
        assert written.stat().st_size > 10_000

    def test_a_copy_made_in_the_middle_of_a_step(self) -> None:
        class Teaches(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                copy.deepcopy(self.net)(batch[0])
                return super().training_step(batch, batch_idx)

        said = watch(lambda: Teaches(tanh_net()))
        assert said[0]["activation/net.1"].moments.count == 64

    def test_layers_that_are_never_called(self) -> None:
        class Functional(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer, self.tanh = nn.Linear(4, 1), nn.Tanh()

            def forward(self, x: Tensor) -> Tensor:
                return torch.tanh(torch.nn.functional.linear(x, self.layer.weight))

        with runtime_warnings() as warned:
            watch(lambda: Regression(Functional()), max_steps=3)
        assert [said.split(" saw ")[0] for said in warned] == ["ActivationHistogram", "GradStats", "SaturationMap"]
        assert all("no call of any layer in step 0" in said for said in warned)

    def test_lazy_layers(self) -> None:
        class Lazy(Regression):
            def __init__(self) -> None:
                super().__init__(nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(1)))

            def configure_optimizers(self) -> torch.optim.Optimizer:
                return torch.optim.SGD(self.parameters(), lr=0.1)

        said = watch(Lazy, max_steps=3)
        assert "update_ratio/net.0.weight" not in said[0]  # had no value before
        assert "update_ratio/net.0.weight" in said[2]
        assert "weight_std/net.0.weight" in said[2]
        assert not [tag for tag in said[2] if "bias" in tag]

    def test_a_batch_that_is_left_out(self) -> None:
        class LeavesOut(Regression):
            def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
                return -1 if batch_idx == 3 else None

        recorder = Recorder()
        watched = every_step(figures=False)
        _, module = fit(lambda: LeavesOut(tanh_net()), [*watched, recorder], max_steps=-1, max_epochs=1)
        assert [list(steps) for steps in recorder.said.values()] == [[0, 1, 2]] * len(watched)
        for layer in module.modules():
            assert not layer._forward_hooks


class TestFaults:
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_in_the_forward_pass_of_a_layer(self, value: float) -> None:
        class Breaks(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                x = x.clone()
                x[0, 0] = value
                return x

        net = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(), Breaks(), nn.LeakyReLU(), nn.Linear(8, 8), nn.LeakyReLU())
        with runtime_warnings() as warned:
            said = watch(lambda: Regression(net), max_steps=1)[0]
        assert said["nonfinite/net.3"] == 1
        assert said["nonfinite/net.5"] == 8
        assert "nonfinite/net.1" not in [tag for tag in said if not said[tag]]
        assert said["activation/net.3"].moments.count == 63
        assert "ActivationHistogram saw NaN or Inf in step 0, first at net.3 (1 of them). Training goes on." in warned

    def test_in_a_gradient(self) -> None:
        class Breaks(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Tensor) -> Tensor:
                return x.clone()

            @staticmethod
            def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
                gradient = gradient.clone()
                gradient[0, 0] = math.nan
                return gradient

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body, self.head = tanh_net()[:4], nn.Linear(8, 1)

            def forward(self, x: Tensor) -> Tensor:
                return self.head(Breaks.apply(self.body(x)))  # type: ignore[arg-type]

        with runtime_warnings() as warned:
            said = watch(lambda: Regression(Net()), max_steps=1)[0]
        (told,) = [line for line in warned if line.startswith("GradStats")]
        assert "in step 0, first at net.body.3 (1 of them)" in told  # the layer whose gradient it is, not those before
        assert said["nonfinite/net.body.1"] > 0

    def test_in_a_parameter(self) -> None:
        def broken() -> LightningModule:
            module = Regression(tanh_net())
            with torch.no_grad():
                module.net[2].weight[1, 1] = math.nan  # type: ignore[index]
            return module

        with runtime_warnings() as warned:
            said = watch(broken, max_steps=2)
        assert "GradStats saw NaN or Inf in step 0, first at net.2.weight (1 of them). Training goes on." in warned
        assert len(warned) == 4  # once each
        assert said[0]["nonfinite/net.2.weight"] >= 1
        assert all(math.isfinite(value) for step in said.values() for value in numbers(step).values())

    def test_a_full_disk_under_the_event_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(self: Any, event: Any) -> None:
            if event.HasField("summary"):
                raise OSError("No space left on device")

        monkeypatch.setattr("tensorboard.summary.writer.event_file_writer.EventFileWriter.add_event", full)
        instrument, logger = ActivationHistogram(every_n_steps=1), TensorBoardLogger(tmp_path, default_hp_metric=False)
        with runtime_warnings() as warned:
            fit(lambda: Regression(tanh_net()), [instrument], logger=logger)
        assert [line.split(".")[0] for line in warned] == ["TensorBoardLogger gets no more numbers of diagnostics"]
        assert instrument.latest_step == 4


HOST = """
import sys
sys.modules["makemore_lightning"] = None  # cannot be imported
import {lightning} as L
import torch
from torch import nn
from {package} import ActivationHistogram, GradStats, SaturationMap, UpdateRatio

class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    def training_step(self, batch, i):
        return self.net(batch).square().mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

four = [ActivationHistogram(), GradStats(), UpdateRatio(), SaturationMap()]
trainer = L.Trainer(callbacks=four, max_steps=3, accelerator="cpu", enable_checkpointing=False,
                    enable_progress_bar=False, enable_model_summary=False, logger=True, default_root_dir=sys.argv[1])
trainer.fit(Model(), torch.utils.data.DataLoader(torch.randn(40, 4), batch_size=8))
print(sorted(tag.split("/")[0] for c in four for tag in c.latest))
"""


@pytest.mark.slow
class TestHosts:
    @pytest.mark.parametrize(
        ("package", "lightning"),
        [("callbacks", "lightning"), ("my_diagnostics", "pytorch_lightning"), ("project.tools.watch", "lightning")],
    )
    def test_the_folder_copied_under_any_name(self, package: str, lightning: str, tmp_path: Path) -> None:
        root = Path(__file__).parents[1]
        target = tmp_path.joinpath(*package.split("."))
        target.mkdir(parents=True)
        for file in (root / "callbacks").glob("*.py"):
            (target / file.name).write_bytes(file.read_bytes())
        (tmp_path / "main.py").write_text(HOST.format(package=package, lightning=lightning))
        done = subprocess.run(
            [sys.executable, "main.py", str(tmp_path)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        for plot in ("activation", "weight_grad", "update_ratio", "saturation"):
            assert f"'{plot}'" in done.stdout
        assert "RuntimeWarning" not in done.stderr


def test_every_instrument_is_here() -> None:
    """A fifth one has to go through all of this as well."""
    assert {kind.__name__ for kind in ALL} == set(callbacks.__all__)
