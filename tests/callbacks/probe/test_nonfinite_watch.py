"""Tests of where NaN and infinities began: the place, the operation and the step, and that nothing is disturbed."""

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fits import ByHand, Regression, fit, loader, state_of, tanh_net
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchmetrics import MeanMetric

from callbacks.measure.placement import simulated_device
from callbacks.probe.nonfinite_origin import NonfiniteOrigin
from callbacks.probe.nonfinite_watch import NonfiniteWatch

pytestmark = pytest.mark.filterwarnings("ignore")

BAD_STEP = 2


class Watching(Callback):
    """Hands Lightning's hooks to a watch."""

    def __init__(self) -> None:
        self.origins: list[NonfiniteOrigin] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.watch = NonfiniteWatch(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.watch.begin_batch(batch, batch_idx)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        self._note(self.watch.before_backward(loss))

    def on_before_optimizer_step(
        self, trainer: Any, pl_module: Any, optimizer: Any
    ) -> None:
        self._note(self.watch.before_optimizer_step(optimizer))

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self._note(self.watch.end_batch())

    def _note(self, origin: NonfiniteOrigin | None) -> None:
        if origin is not None:
            self.origins.append(origin)


def origin_of(make: Callable[[], LightningModule], **options: Any) -> NonfiniteOrigin:
    watching = Watching()
    fit(make, [watching], **options)
    (origin,) = watching.origins
    return origin


class At(nn.Module):
    """Applies a function in one call."""

    def __init__(
        self, function: Callable[[Tensor], Tensor], call: int = BAD_STEP
    ) -> None:
        super().__init__()
        self.function, self.call, self.calls = function, call, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.function(x) if self.calls == self.call + 1 else x


def net_with(function: Callable[[Tensor], Tensor]) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4, 8), nn.Tanh(), nn.Sequential(At(function)), nn.Linear(8, 1)
    )


FORWARD = {
    "log": lambda x: torch.log(x - 5),
    "div": lambda x: (x - x) / (x - x),
    "exp": lambda x: torch.softmax(torch.exp(x * 1e4), -1),
    "sqrt": lambda x: torch.sqrt(x - 5),
    "acos": lambda x: torch.acos(x + 5),
}


@pytest.mark.parametrize("operation", FORWARD)
def test_in_the_forward_pass(operation: str) -> None:
    origin = origin_of(lambda: Regression(net_with(FORWARD[operation])))
    assert (origin.step, origin.where) == (BAD_STEP, "net.2.0")
    assert origin.operation == operation
    assert operation in origin.message
    assert origin.count > 0


BACKWARD = {
    "Sqrt": lambda x: x + torch.sqrt(x * 0),
    "Pow": lambda x: x + (x * 0).pow(0.5),
    "Acos": lambda x: x + torch.acos(x * 0 + 1),
}


@pytest.mark.parametrize("operation", BACKWARD)
def test_in_the_backward_pass(operation: str) -> None:
    origin = origin_of(lambda: Regression(net_with(BACKWARD[operation])))
    assert (origin.step, origin.where) == (BAD_STEP, "net.2.0")
    assert origin.operation == operation
    assert "backward pass" in origin.message


def test_the_norm_of_a_vector_of_zeros() -> None:
    def distance(x: Tensor) -> Tensor:
        return x + (x - x.detach()).square().sum(-1, keepdim=True).sqrt()

    origin = origin_of(lambda: Regression(net_with(distance)))
    assert (origin.step, origin.where) == (BAD_STEP, "net.2.0")


def test_in_the_batch() -> None:
    data = loader()
    data.dataset.tensors[0][8 * BAD_STEP + 3, 1] = math.nan  # type: ignore[attr-defined]
    origin = origin_of(lambda: Regression(tanh_net()), data=data)
    assert (origin.step, origin.where, origin.count) == (BAD_STEP, "batch", 1)
    assert origin.quantity is None


def test_infinities_in_the_batch() -> None:
    data = loader()
    data.dataset.tensors[0][8 * BAD_STEP + 3, 1] = math.inf  # type: ignore[attr-defined]
    net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    origin = origin_of(lambda: Regression(net), data=data)
    assert (origin.step, origin.where) == (BAD_STEP, "batch")


class InTheLoss(Regression):
    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss / (loss - loss) if self.global_step == BAD_STEP else loss


def test_in_the_loss() -> None:
    origin = origin_of(lambda: InTheLoss(tanh_net()))
    assert (origin.step, origin.where, origin.operation) == (BAD_STEP, "", "div")


def test_in_a_parameter() -> None:
    class Spike(Callback):
        def on_train_batch_end(
            self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any
        ) -> None:
            if trainer.global_step == BAD_STEP:
                pl_module.net[2].weight.data[0, 0] = math.inf

    watching = Watching()
    fit(lambda: Regression(tanh_net()), [watching, Spike()])
    (origin,) = watching.origins
    assert (origin.step, origin.where, origin.count) == (BAD_STEP, "net.2.weight", 1)


class Attention(nn.Module):
    """Attention with a mask of minus infinities, and a function behind it."""

    def __init__(self, function: Callable[[Tensor], Tensor], written: bool) -> None:
        super().__init__()
        mask = torch.full((4, 4), -math.inf).triu(1)
        self.written = written
        self.register_buffer("mask", mask)
        self.first, self.last, self.at = nn.Linear(4, 4), nn.Linear(4, 1), At(function)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.first(x)[:, :, None] * self.first(x)[:, None]
        if self.written:
            allowed = torch.ones(4, 4, dtype=torch.bool).tril()
            scores = scores.masked_fill(~allowed, -math.inf)
        else:
            scores = scores + self.mask
        return self.last(self.at(scores.softmax(-1).mean(1)))


@pytest.mark.parametrize("written", [True, False])
def test_the_mask_of_an_attention_is_no_fault(written: bool) -> None:
    net = Attention(lambda x: torch.log(x - 5), written)
    origin = origin_of(lambda: Regression(net))
    assert (origin.where, origin.operation) == ("net.at", "log")


def test_a_row_that_is_masked_as_a_whole() -> None:
    def all_masked(x: Tensor) -> Tensor:
        return x.masked_fill(torch.ones_like(x) > 0, -math.inf).softmax(-1)

    origin = origin_of(lambda: Regression(net_with(all_masked)))
    assert origin.where == "net.2.0"
    assert "softmax" in origin.operation


def test_depends_on_the_random_numbers_of_the_step() -> None:
    class Rare(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / (torch.rand(()) > 0.5)

    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), Rare(), nn.Linear(8, 1))
    assert origin_of(lambda: Regression(net)).where == "net.2"


class Armed(nn.Module):
    """Takes a logarithm while it is armed, however often it is called."""

    armed = False

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x - 5) if self.armed else x


class Arming(Callback):
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        pl_module.net.inner[1].armed = trainer.global_step == BAD_STEP


def test_inside_checkpointing() -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 8), Armed(), nn.Linear(8, 1))

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.inner, x, use_reentrant=False)  # type: ignore[return-value]

    watching = Watching()
    fit(lambda: Regression(Checkpointed()), [Arming(), watching])
    (origin,) = watching.origins
    assert (origin.step, origin.where) == (BAD_STEP, "net.inner.1")


def test_in_an_accumulated_step() -> None:
    net = net_with(FORWARD["log"])
    origin = origin_of(lambda: Regression(net), accumulate_grad_batches=2, max_steps=3)
    assert (origin.step, origin.where) == (1, "net.2.0")


@pytest.mark.parametrize("function", [FORWARD["log"], BACKWARD["Sqrt"]])
def test_by_hand(function: Callable[[Tensor], Tensor]) -> None:
    origin = origin_of(lambda: ByHand(net_with(function)))
    assert (origin.step, origin.where) == (BAD_STEP, "net.2.0")


def test_with_lbfgs() -> None:
    def lbfgs(params: Any) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(params, lr=0.1, max_iter=1)

    origin = origin_of(lambda: Regression(net_with(FORWARD["log"]), lbfgs))
    assert origin.where == "net.2.0"


def test_a_functional_operation_is_that_of_the_module_that_calls_it() -> None:
    class Calls(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return F.logsigmoid(self.inner(x)).log()

    assert origin_of(lambda: Regression(Calls())).where == "net"


def test_what_does_not_come_again_is_told_with_its_step() -> None:
    calls = []

    def once(x: Tensor) -> Tensor:
        calls.append(0)
        return torch.log(x - 5) if len(calls) == 3 else x

    class Unseen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return once(x)

    net = nn.Sequential(nn.Linear(4, 8), Unseen(), nn.Linear(8, 1))
    origin = origin_of(lambda: Regression(net))
    assert (origin.step, origin.where) == (BAD_STEP, "")
    assert "did not come again" in origin.message


class Stateful(Regression):
    """Has everything that a second run could change."""

    def __init__(self) -> None:
        net = nn.Sequential(
            nn.Linear(4, 8),
            nn.BatchNorm1d(8),
            nn.Dropout(),
            At(lambda x: x / 0, 2),
            nn.Linear(8, 1),
        )
        super().__init__(net)
        self.metric, self.losses, self.seen = MeanMetric(), [], {}

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.metric.update(loss.detach())
        self.losses.append(float(loss))
        self.seen[len(self.seen)] = random.random() + torch.rand(()).item()
        self.log("loss", loss)
        return loss


def test_disturbs_nothing() -> None:
    bare_trainer, bare = fit(Stateful)
    watching = Watching()
    trainer, module = fit(Stateful, [watching])
    assert isinstance(bare, Stateful)
    assert isinstance(module, Stateful)
    assert watching.origins
    assert state_of(trainer, module) == state_of(bare_trainer, bare)
    assert str(module.losses) == str(bare.losses)
    assert module.seen == bare.seen
    assert str(module.metric.compute()) == str(bare.metric.compute())
    assert module.net[3].calls == bare.net[3].calls  # type: ignore[index]
    for layer in module.modules():
        assert not layer._forward_hooks
        assert not layer._forward_pre_hooks


def test_keeps_nothing_after_it_is_closed() -> None:
    watching = Watching()
    fit(lambda: Regression(tanh_net()), [watching])
    assert not watching.origins
    watching.watch.close()
    watching.watch.begin_batch([torch.zeros(1)], 0)
    assert watching.watch.before_backward(torch.tensor(math.nan)) is None


def test_answers_late_from_a_device_and_waits_for_nothing() -> None:
    watching = Watching()
    with simulated_device():
        fit(lambda: InTheLoss(tanh_net()), [watching], max_steps=8)
    (origin,) = watching.origins
    assert origin.step == BAD_STEP


def test_infinite_gradients_under_a_scaler_are_no_fault() -> None:
    net = net_with(BACKWARD["Sqrt"])
    watching = Watching()

    class Scaled(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
            watching.watch._has_scaler = True

    fit(lambda: Regression(net), [watching, Scaled()], max_steps=BAD_STEP + 1)
    assert not watching.origins


def test_in_the_forward_pass_under_a_scaler() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    origin = origin_of(
        lambda: Regression(net_with(FORWARD["log"])), plugins=[plugin], max_steps=5
    )
    assert (origin.step, origin.where) == (BAD_STEP, "net.2.0")
    assert origin.operation == "log"


def test_a_norm_that_overflows_is_no_fault() -> None:
    class Steep(Regression):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * 1e25

    def still(params: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, lr=1e-30)

    watching = Watching()
    fit(lambda: Steep(tanh_net(), still), [watching])
    assert not watching.origins


def test_a_nan_in_the_gradient_of_one_weight() -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(1))
            self.linear = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x) + self.scale.sqrt()

    origin = origin_of(lambda: Regression(Root()))
    assert (origin.step, origin.where, origin.operation) == (0, "net", "Sqrt")


def test_in_an_lstm() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.at = nn.LSTM(4, 8, batch_first=True), At(FORWARD["log"])
            self.head = nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.at(self.lstm(x[:, None])[0][:, -1]))

    assert origin_of(lambda: Regression(Reads())).where == "net.at"


def test_in_a_gan() -> None:
    class Gan(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.generator, self.critic = nn.Linear(4, 4), net_with(BACKWARD["Sqrt"])
            self.critic[2][0].call = 5  # type: ignore[index]  the third batch's real rows

        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
            first, second = self.optimizers()  # type: ignore[misc]
            x = batch[0]
            first.zero_grad()
            self.manual_backward(self.critic(self.generator(x)).mean())
            first.step()
            second.zero_grad()
            self.manual_backward(self.critic(x).square().mean())
            second.step()

        def configure_optimizers(self) -> Any:
            return [
                torch.optim.SGD(net.parameters(), lr=0.01)
                for net in (self.generator, self.critic)
            ]

    origin = origin_of(Gan, max_steps=8)
    assert (origin.step, origin.where) == (2, "critic.2.0")
