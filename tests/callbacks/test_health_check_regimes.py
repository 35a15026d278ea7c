"""Tests of HealthCheck in every regime: a healthy training stays ok, and a sick one is found at its place.

A network is made sick by weights 30 times too large before its first activation, which saturates it. Where no
activation can be observed, the learning rate is too high instead.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import SEED, ByHand, Numbers, Regression, fit, loader, tanh_net
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint

from callbacks import HealthCheck

pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "tests" / "helpers"
Configure = Callable[[Any], Optimizer]


def slowly(params: Any) -> Optimizer:
    return torch.optim.SGD(params, lr=0.02)


def too_fast(params: Any) -> Optimizer:
    return torch.optim.Adam(params, lr=1.0)


def saturated(net: nn.Module, times: float = 30) -> nn.Module:
    """Scales the first weight of a network up."""
    with torch.no_grad():
        next(iter(net.parameters())).mul_(times)
    return net


def judged(make: Callable[[], LightningModule], **options: Any) -> HealthCheck:
    """Fits with HealthCheck, due at every step."""
    check = HealthCheck(every_n_steps=1)
    fit(make, [check, *options.pop("callbacks", [])], **options)
    return check


def expect_ok(check: HealthCheck) -> None:
    assert check.report.verdict == "ok", check.report.to_markdown()
    assert check.report.steps >= 3


def expect_finding(
    check: HealthCheck, rule: str, where: str, severity: str = "fail"
) -> None:
    """Checks that one place is found by a rule, and that its verdict is that of the report."""
    places = {
        (each.rule, each.where)
        for each in check.report.findings
        if each.severity == severity
    }
    assert (rule, where) in places, check.report.to_markdown()
    assert {where for each, where in places if each == rule} == {where}
    assert check.report.verdict == severity


def expect_verdicts(
    kind: Callable[..., LightningModule] = Regression,
    net: Callable[[], nn.Module] = tanh_net,
    place: str = "net.1",
    optimizer: Configure = slowly,
    **options: Any,
) -> None:
    """Fits a healthy and a saturated network: one is ok, and the other is found at a place."""
    expect_ok(judged(lambda: kind(net(), optimizer), **options))
    sick = judged(lambda: kind(saturated(net()), optimizer), **options)
    expect_finding(sick, "saturation", place)


def expect_verdicts_of_updates(
    kind: Callable[..., LightningModule] = Regression,
    net: Callable[[], nn.Module] = tanh_net,
    **options: Any,
) -> None:
    """Fits with a good learning rate and with one that is far too high."""
    expect_ok(judged(lambda: kind(net(), slowly), **options))
    sick = judged(lambda: kind(net(), too_fast), **options)
    # Few steps do not tell yet that nothing is learned.
    expect_finding(sick, "update_high", "", "warn")


class TestOptimization:
    @pytest.mark.parametrize(
        "options",
        [
            {"accumulate_grad_batches": 2, "max_steps": 6},
            {"gradient_clip_val": 0.1},
            {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
        ],
        ids=["accumulation", "clipping by norm", "clipping by value"],
    )
    def test_by_the_trainer(self, options: dict[str, Any]) -> None:
        expect_verdicts(**options)

    def test_lbfgs(self) -> None:
        def lbfgs(params: Any) -> Optimizer:
            return torch.optim.LBFGS(params, lr=0.02, max_iter=4)

        expect_verdicts(optimizer=lbfgs)

    @pytest.mark.parametrize("lightnings", [True, False])
    def test_by_hand(self, lightnings: bool) -> None:
        class OwnLoop(ByHand):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
                optimizer: Any = self.optimizers(use_pl_optimizer=lightnings)
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                optimizer.step()

        # A raw optimizer's steps are not counted: max_steps would never be reached.
        expect_verdicts(OwnLoop, max_steps=-1, max_epochs=1)

    def test_several_steps_in_a_batch(self) -> None:
        class Twice(ByHand):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
                super().training_step(batch, batch_idx)
                super().training_step(batch, batch_idx)

        expect_verdicts(Twice)

    def test_accumulation_by_hand(self) -> None:
        class EveryOther(ByHand):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
                optimizer: Any = self.optimizers()
                self.manual_backward(self.loss(batch) / 2)
                if batch_idx % 2 == 1:
                    optimizer.step()
                    optimizer.zero_grad()

        expect_verdicts(EveryOther, data=loader(rows=64), max_steps=4)

    def test_two_optimizers(self) -> None:
        class GAN(LightningModule):
            def __init__(self, net: nn.Module, optimizer: Configure) -> None:
                super().__init__()
                self.automatic_optimization = False
                self.net, self.make_optimizer = net, optimizer
                self.critic = nn.Sequential(
                    nn.Linear(1, 8), nn.LeakyReLU(), nn.Linear(8, 1)
                )

            def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
                generator, critic = self.optimizers()  # type: ignore[misc]
                x, y = batch
                critic.zero_grad()
                difference = self.critic(self.net(x).detach()) - self.critic(y)
                self.manual_backward(difference.mean())
                critic.step()
                generator.zero_grad()
                self.manual_backward(-self.critic(self.net(x)).mean())
                generator.step()

            def configure_optimizers(self) -> list[Optimizer]:  # type: ignore[override]
                return [
                    self.make_optimizer(self.net.parameters()),
                    self.make_optimizer(self.critic.parameters()),
                ]

        expect_verdicts(GAN, max_steps=10)

    def test_a_frozen_layer(self) -> None:
        def net() -> nn.Module:
            layers = tanh_net()
            layers[0].requires_grad_(False)
            return layers

        expect_verdicts(net=net)


class TestPrecision:
    @pytest.mark.parametrize("precision", ["64-true", "bf16-mixed", "bf16-true"])
    def test_by_the_trainer(self, precision: str) -> None:
        expect_verdicts(precision=precision)

    @pytest.mark.parametrize("fused", [False, True])
    def test_a_scaler_that_skips_a_step(self, fused: bool) -> None:
        class Overflows(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                loss = super().training_step(batch, batch_idx)
                is_first = self.trainer.global_step == 1 and not self.has_overflowed
                self.has_overflowed |= is_first
                return loss * torch.inf if is_first else loss

            has_overflowed = False

        def adam(params: Any) -> Optimizer:
            return torch.optim.Adam(params, lr=1e-3, fused=fused)

        def plugins() -> list[Any]:
            scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
            return [MixedPrecision("16-mixed", "cpu", scaler)]

        expect_ok(
            judged(lambda: Overflows(tanh_net(), adam), plugins=plugins(), max_steps=30)
        )
        sick = judged(lambda: Overflows(saturated(tanh_net()), adam), plugins=plugins())
        expect_finding(sick, "saturation", "net.1")


class TestCompiled:
    @pytest.mark.parametrize("how", ["submodule", "in place", "whole"])
    def test_a_learning_rate_that_is_too_high(self, how: str) -> None:
        """Layers inside compiled code cannot be observed; parameters are."""

        def compiled(net: nn.Module, optimizer: Configure) -> LightningModule:
            module = Regression(net, optimizer)
            if how == "submodule":
                module.net = torch.compile(net, backend="aot_eager")  # type: ignore[assignment]
            elif how == "in place":
                net.compile(backend="aot_eager")
            else:
                return torch.compile(module, backend="aot_eager")  # type: ignore[return-value]
            return module

        expect_verdicts_of_updates(compiled)


class Functional(nn.Module):
    """Calls functions in the place of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(4, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.first(x)))


class Checkpointed(nn.Module):
    """Runs its first layers again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        h: Any = checkpoint(self.block, x, use_reentrant=False)
        return self.head(h)


class Residual(nn.Module):
    """Calls its layers twice, and adds in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.tanh, self.head = nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.tanh(self.layer(x))
        total = self.layer(h)
        total += h
        return self.head(self.tanh(total))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.tanh = nn.Linear(4, 8), nn.Tanh()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.tanh(self.embed(x))
        return self.head(self.norm(h + self.attention(h, h, h)[0]))


class LSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0])


class EmptyBeside(nn.Module):
    """Calls its network with an empty batch beside a full one."""

    def __init__(self) -> None:
        super().__init__()
        self.net = tanh_net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + self.net(x[:0]).sum()


def normalized() -> nn.Module:
    return nn.Sequential(weight_norm(nn.Linear(4, 8)), nn.Tanh(), nn.Linear(8, 1))


class TestModuleShapes:
    @pytest.mark.parametrize(
        ("net", "place", "shape"),
        [
            (Functional, "net.tanh", (4,)),
            (Checkpointed, "net.block.1", (4,)),
            (Residual, "net.tanh", (4,)),
            (Attention, "net.tanh", (6, 4)),
            (EmptyBeside, "net.net.1", (4,)),
        ],
    )
    def test_of_modules(self, net: Any, place: str, shape: tuple[int, ...]) -> None:
        expect_verdicts(net=net, place=place, data=loader(shape))

    def test_weight_norm(self) -> None:
        expect_ok(judged(lambda: Regression(normalized(), slowly)))

        def sick() -> nn.Module:
            net = normalized()
            with torch.no_grad():
                net[0].parametrizations.weight.original0 *= 30  # type: ignore[index, operator, union-attr]
            return net

        check = judged(lambda: Regression(sick(), slowly))
        expect_finding(check, "saturation", "net.1")

    @pytest.mark.parametrize("wrap", [weight_norm, spectral_norm])
    def test_an_activation_before_a_parametrized_layer(self, wrap: Any) -> None:
        def net() -> nn.Module:
            return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), wrap(nn.Linear(8, 1)))

        expect_verdicts(net=net)

    def test_lstm(self) -> None:
        expect_verdicts_of_updates(net=LSTM, data=loader((6, 4)))

    def test_a_replaced_layer(self) -> None:
        class Steep(nn.Tanh):
            def forward(self, input: Tensor) -> Tensor:  # noqa: A002
                return super().forward(30 * input)

        def replacing(kind: type[nn.Module]) -> type[Regression]:
            class Replaces(Regression):
                def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
                    if batch_idx == 2:
                        self.net[1] = kind()  # type: ignore[index]

            return Replaces

        expect_ok(judged(lambda: replacing(nn.Tanh)(tanh_net(), slowly)))
        check = judged(lambda: replacing(Steep)(tanh_net(), slowly))
        expect_finding(check, "saturation", "net.1")
        assert check.report.findings[0].step > 1

    def test_inside_grad(self) -> None:
        class Penalized(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                slope = torch.func.grad(lambda x: self.net(x).sum())(batch[0])
                penalty = slope.square().mean()
                return super().training_step(batch, batch_idx) + 0.01 * penalty

        expect_verdicts(Penalized)

    def test_inside_vmap(self) -> None:
        """Layers inside vmap cannot be observed; parameters are."""

        class PerExample(Regression):
            def forward(self, x: Tensor) -> Tensor:
                return torch.func.vmap(self.net)(x)

        expect_verdicts_of_updates(PerExample)


class TestTrainers:
    def test_validation_and_sanity_check(self) -> None:
        """Batches of validation, which would saturate any layer, are not judged."""

        class Validated(Regression):
            def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
                self(batch[0] * 1000)

        expect_verdicts(
            Validated, val=loader(), num_sanity_val_steps=2, val_check_interval=1
        )

    def test_averaged_weights(self) -> None:
        expect_verdicts(callbacks=[EMAWeightAveraging(decay=0.5)])

    @pytest.mark.parametrize("options", [{}, {"fast_dev_run": 4}], ids=str)
    def test_without_a_logger(self, options: dict[str, Any]) -> None:
        expect_verdicts(logger=False, **options)

    def test_barebones(self) -> None:
        def check_of(net: nn.Module) -> HealthCheck:
            check = HealthCheck(every_n_steps=1)
            options: Any = {"max_steps": 4, "accelerator": "cpu"}
            trainer = Trainer(barebones=True, callbacks=[check], **options)
            trainer.fit(Regression(net, slowly), loader())
            return check

        seed_everything(SEED)
        expect_ok(check_of(tanh_net()))
        expect_finding(check_of(saturated(tanh_net())), "saturation", "net.1")

    def test_several_loggers(self, tmp_path: Path) -> None:
        numbers = Numbers()
        loggers = [TensorBoardLogger(tmp_path), CSVLogger(tmp_path), numbers]
        expect_verdicts(logger=loggers)
        verdicts = [
            row["health/verdict"] for _, row in numbers.rows if "health/verdict" in row
        ]
        assert verdicts == [0] * 6 + [2] * 4

    @pytest.mark.parametrize("name", ["wandb", "mlflow"])
    def test_loggers_of_others(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip(name)
        from lightning.pytorch.loggers import MLFlowLogger, WandbLogger

        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("WANDB_SILENT", "true")
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        logger: Any
        if name == "wandb":
            logger = WandbLogger(save_dir=tmp_path, offline=True)
        else:
            logger = MLFlowLogger(save_dir=str(tmp_path / "mlruns"))
        check = judged(lambda: Regression(saturated(tanh_net()), slowly), logger=logger)
        expect_finding(check, "saturation", "net.1")
        if name == "wandb":
            assert logger.experiment.summary["health/saturation"] == 1
            logger.experiment.finish()
        else:
            client, run = logger.experiment, logger.run_id
            points = client.get_metric_history(run, "health/saturation")
            assert {point.value for point in points} == {1}


def environment(**variables: str) -> dict[str, str]:
    """Returns the environment of a program that imports callbacks and the helpers of the tests."""
    paths = f"{ROOT}:{HELPERS}"
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **variables}


def expect_reports(healthy: dict[str, Any], sick: dict[str, Any], place: str) -> None:
    """Checks the reports of a healthy and a saturated network, as JSON has them."""
    assert healthy["verdict"] == "ok", healthy["findings"]
    assert healthy["steps"] == sick["steps"] == 5
    assert sick["verdict"] == "fail"
    first = sick["findings"][0]
    assert (first["severity"], first["rule"], first["where"]) == (
        "fail",
        "saturation",
        place,
    )


OLD_NAME_PROGRAM = """
import json
import sys
from typing import Any

sys.modules["lightning"] = None  # cannot be imported

import pytorch_lightning
import torch
from torch import Tensor, nn

from callbacks import HealthCheck


class Module(pytorch_lightning.LightningModule):
    def __init__(self, times: float) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        with torch.no_grad():
            self.net[0].weight *= times

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.net(batch) - batch[:, :1]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.02)


def report_of(times: float) -> dict[str, Any]:
    pytorch_lightning.seed_everything(11)
    check = HealthCheck(every_n_steps=1)
    trainer = pytorch_lightning.Trainer(
        callbacks=[check],
        max_steps=5,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = torch.utils.data.DataLoader(torch.randn(40, 4), batch_size=8)
    trainer.fit(Module(times), data)
    return check.report.to_dict()


torch.set_num_threads(1)
print(json.dumps({"healthy": report_of(1.0), "sick": report_of(30.0)}))
"""


@pytest.mark.skipif(
    find_spec("pytorch_lightning") is None, reason="pytorch_lightning is not installed"
)
def test_under_the_other_name_of_lightning(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OLD_NAME_PROGRAM],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    reports = json.loads(process.stdout.splitlines()[-1])
    expect_reports(reports["healthy"], reports["sick"], "net.1")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Reports of two processes, by strategy."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-W", "ignore", str(HELPERS / "distributed_health.py")]
    processes = [
        subprocess.Popen(
            [*command, str(folder)],
            env=environment(**address, LOCAL_RANK=rank),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for rank in ("0", "1")
    ]
    errors = [process.communicate(timeout=180)[1] for process in processes]
    assert not any(process.returncode for process in processes), errors
    files = [folder / f"rank_{rank}.json" for rank in (0, 1)]
    return [json.loads(file.read_text()) for file in files]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_ranks(strategy: str, ranks: list[dict[str, Any]]) -> None:
    for reports in ranks:
        healthy, sick = reports[f"{strategy} healthy"], reports[f"{strategy} sick"]
        expect_reports(healthy, sick, "net.tanh1")
    assert ranks[0] == ranks[1]
