"""Gradients beside a plain loop that keeps every intermediate value."""

import math
from typing import Any

import pytest
import torch
from fits import Recorder, Regression, fit, loader, runtime_warnings, tanh_net
from lightning.pytorch import LightningModule, seed_everything
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.optim import SGD, Adam

from callbacks import ActivationHistogram, GradStats, SaturationMap

pytestmark = pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")


def plain_loop(steps: int, micro_batches: int = 1) -> list[dict[str, float]]:
    """The same fit in plain PyTorch and double precision, with what GradStats and its kin should say of each step."""
    seed_everything(11, verbose=False)
    net = tanh_net().double()
    said = []
    batches = [batch for _ in range(steps * micro_batches) for batch in loader(batch=8)][: steps * micro_batches]
    for step in range(steps):
        seen: dict[str, list[Tensor]] = {"net.1": [], "net.3": []}
        net.zero_grad()
        for x, y in batches[step * micro_batches : (step + 1) * micro_batches]:
            h1 = torch.tanh(net[0](x.double()))
            h2 = torch.tanh(net[2](h1))
            loss = (net[4](h2) - y).square().mean() / micro_batches
            h1.retain_grad()
            h2.retain_grad()
            loss.backward()
            seen["net.1"].append(h1)
            seen["net.3"].append(h2)
        found: dict[str, float] = {}
        for layer, outputs in seen.items():
            values, gradients = torch.cat(outputs), torch.cat([h.grad for h in outputs])  # type: ignore[list-item]
            found |= spread("activation", layer, values) | spread("activation_grad", layer, gradients)
            found[f"saturation/{layer}"] = (values.abs() > 0.9).double().mean().item()
            found[f"dead_units/{layer}"] = (values.abs() > 0.9).all(0).double().mean().item()
        for name, param in net.named_parameters(prefix="net"):
            assert param.grad is not None
            if param.ndim >= 2:
                found |= spread("weight", name, param) | spread("weight_grad", name, param.grad)
                found[f"grad_data_ratio/{name}"] = (param.grad.std() / param.std()).item()
        found["grad_norm/total"] = torch.cat([p.grad.flatten() for p in net.parameters()]).norm().item()  # type: ignore[union-attr]
        with torch.no_grad():
            for param in net.parameters():
                param -= 0.1 * param.grad  # type: ignore[operator]
        said.append(found)
    return said


def spread(plot: str, name: str, values: Tensor) -> dict[str, float]:
    return {f"{plot}_mean/{name}": values.mean().item(), f"{plot}_std/{name}": values.std().item()}


def said_by_ours(steps: int, **options: Any) -> list[dict[str, float]]:
    recorder = Recorder()
    ours = [
        ActivationHistogram(every_n_steps=1, figures=False),
        GradStats(every_n_steps=1, figures=False),
        SaturationMap(every_n_steps=1, figures=False, threshold=0.9),
    ]
    fit(lambda: Regression(tanh_net()), [*ours, recorder], max_steps=steps, **options)
    steps_said = [{k: v for kind in recorder.said.values() for k, v in kind[step].items()} for step in range(steps)]
    return [{tag: value for tag, value in said.items() if isinstance(value, float)} for said in steps_said]


@pytest.mark.parametrize(
    ("micro_batches", "options"),
    [
        (1, {}),
        (1, {"gradient_clip_val": 1e-3}),  # gradients are those before clipping, but what is clipped steps
        (1, {"precision": "64-true"}),
        (5, {"accumulate_grad_batches": 5}),
    ],
)
def test_beside_a_plain_loop(micro_batches: int, options: dict[str, Any]) -> None:
    steps = 1 if "gradient_clip_val" in options else 4
    expected = plain_loop(steps, micro_batches)
    for said, twin in zip(said_by_ours(steps, **options), expected, strict=True):
        assert said == {tag: pytest.approx(value, rel=2e-5, abs=1e-7) for tag, value in twin.items()}


@pytest.mark.parametrize("optimizer", [lambda p: Adam(p, fused=False), lambda p: Adam(p, fused=True)])
def test_a_gradient_scaler_leaves_no_trace(optimizer: Any) -> None:
    def said(**options: Any) -> dict[str, Any]:
        instrument = GradStats(every_n_steps=1, figures=False)
        fit(lambda: Regression(tanh_net(), optimizer), [instrument], max_steps=3, **options)
        return {k: v for k, v in (instrument.latest or {}).items() if isinstance(v, float)}

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    scaled = said(plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    plain = said(plugins=[MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", enabled=False))])
    assert scaled == {tag: pytest.approx(value, rel=2e-2, abs=1e-5) for tag, value in plain.items()}


def test_only_the_gradient_of_the_loss_is_seen() -> None:
    class Penalized(Regression):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            x = batch[0].clone().requires_grad_()
            (slope,) = torch.autograd.grad(self(x).sum(), x)  # goes through every hook, and is not the loss
            return super().training_step(batch, batch_idx) + 0 * slope.sum()

    def said(kind: type[LightningModule]) -> Any:
        instrument = GradStats(every_n_steps=1, figures=False)
        fit(lambda: kind(tanh_net()), [instrument], max_steps=1)
        assert instrument.latest is not None
        return instrument.latest["activation_grad/net.1"]

    assert said(Penalized).moments == said(Regression).moments


def test_gradients_stand_in_forward_order() -> None:
    instrument = GradStats(every_n_steps=1, figures=False)
    fit(lambda: Regression(tanh_net()), [instrument])
    assert instrument.latest is not None
    order = [tag for tag in instrument.latest if tag.startswith("activation_grad/")]
    assert order == ["activation_grad/net.1", "activation_grad/net.3"]


def test_nor_is_another_gradient_seen_in_manual_optimization() -> None:
    class Penalized(Regression):
        penalizes = True

        def __init__(self, net: nn.Module) -> None:
            super().__init__(net)
            self.automatic_optimization = False

        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
            optimizer = self.optimizers()
            if self.penalizes:
                x = batch[0].clone().requires_grad_()
                torch.autograd.grad(self(x).sum(), x)
            optimizer.zero_grad()  # type: ignore[union-attr]
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()  # type: ignore[union-attr]

    class Plain(Penalized):
        penalizes = False

    def said(kind: type[LightningModule]) -> Any:
        instrument = GradStats(every_n_steps=1, figures=False)
        fit(lambda: kind(tanh_net()), [instrument], max_steps=1)
        assert instrument.latest is not None
        return instrument.latest["activation_grad/net.1"]

    assert said(Penalized).moments == said(Plain).moments


class Returns(nn.Module):
    """Returns a parameter as it is, as tables of positions do."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 4))

    def forward(self) -> Tensor:
        return self.table


def test_no_hook_is_left_on_a_parameter() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.places, self.head = Returns(), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x + self.places())

    _, module = fit(lambda: Regression(Net()), [GradStats(every_n_steps=1, figures=False, layers=["*"])])
    for param in module.parameters():
        assert not param._backward_hooks


class TestEveryKindOfGradient:
    def test_complex(self) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.spectrum, self.head = nn.Parameter(torch.randn(4, 4, dtype=torch.cfloat)), nn.Linear(4, 1)

            def forward(self, x: Tensor) -> Tensor:
                return self.head((x.to(torch.cfloat) @ self.spectrum).abs())

        class Notes(Regression):
            norm = 0.0

            def on_before_optimizer_step(self, optimizer: Any) -> None:
                self.norm = math.sqrt(sum(p.grad.abs().double().square().sum().item() for p in self.parameters()))  # type: ignore[union-attr]

        instrument = GradStats(every_n_steps=1, figures=False)
        _, module = fit(lambda: Notes(Net()), [instrument])
        assert instrument.latest is not None
        assert instrument.latest["grad_norm/total"] == pytest.approx(module.norm)  # type: ignore[arg-type]
        assert not [tag for tag in instrument.latest if "spectrum" in tag]

    def test_all_of_them_nan(self) -> None:
        class Breaks(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                return super().training_step(batch, batch_idx) * math.nan

        instrument = GradStats(every_n_steps=1, figures=False)
        with runtime_warnings():
            fit(lambda: Breaks(tanh_net()), [instrument], max_steps=1)
        assert instrument.latest is not None
        assert "grad_norm/total" not in instrument.latest  # and not zero
        assert instrument.latest["nonfinite/net.0.weight"] == 32

    def test_sparse(self) -> None:
        class Words(Regression):
            def __init__(self) -> None:
                super().__init__(nn.Sequential(nn.Embedding(30, 4, sparse=True), nn.Tanh(), nn.Linear(4, 1)))

            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                return super().training_step([batch[0].abs().mul(5).long(), batch[1]], batch_idx)

        instrument = GradStats(every_n_steps=1, figures=False)
        fit(Words, [instrument])
        assert instrument.latest is not None
        histogram = instrument.latest["weight_grad/net.0.weight"]
        assert histogram.moments.count == 120  # type: ignore[union-attr]

    def test_tied_weights_stand_once(self) -> None:
        class Tied(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
                self.second.weight = self.first.weight

            def forward(self, x: Tensor) -> Tensor:
                return self.second(torch.tanh(self.first(x)))

        instrument = GradStats(every_n_steps=1, figures=False, layers=["*"])
        fit(lambda: Regression(Tied()), [instrument])
        assert instrument.latest is not None
        assert [t for t in instrument.latest if t.startswith("weight/")] == ["weight/net.first.weight"]

    def test_a_layer_called_twice_is_pooled(self) -> None:
        class Twice(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer, self.tanh = nn.Linear(4, 4), nn.Tanh()

            def forward(self, x: Tensor) -> Tensor:
                return self.tanh(self.layer(self.tanh(self.layer(x))))

        instrument = GradStats(every_n_steps=1, figures=False)
        fit(lambda: Regression(Twice()), [instrument])
        assert instrument.latest is not None
        assert instrument.latest["activation_grad/net.tanh"].moments.count == 2 * 8 * 4  # type: ignore[union-attr]

    def test_a_zero_bias_has_no_ratio(self) -> None:
        def zeroed() -> LightningModule:
            module = Regression(tanh_net())
            nn.init.zeros_(module.net[0].bias)  # type: ignore[index]
            return module

        instrument = GradStats(every_n_steps=1, figures=False, params=["net.0.*"])
        fit(zeroed, [instrument], max_steps=1)
        assert instrument.latest is not None
        assert "grad_data_ratio/net.0.bias" not in instrument.latest
        assert "grad_data_ratio/net.0.weight" in instrument.latest

    def test_nan_is_counted(self) -> None:
        class Breaks(Regression):
            def on_after_backward(self) -> None:
                self.net[0].bias.grad[2] = float("nan")  # type: ignore[index]

        instrument = GradStats(every_n_steps=1, figures=False)
        with runtime_warnings() as warned:
            fit(lambda: Breaks(tanh_net(), lambda p: SGD(p, lr=0.0)), [instrument], max_steps=1)
        assert warned == ["GradStats saw NaN or Inf in step 0, first at net.0.bias (1 of them). Training goes on."]
        assert instrument.latest is not None
        assert instrument.latest["nonfinite/net.0.bias"] == 1.0  # though only matrices are watched
        assert instrument.latest["grad_norm/total"] < float("inf")  # type: ignore[operator]
