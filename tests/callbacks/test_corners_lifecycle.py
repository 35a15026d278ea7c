"""Trainings that are interrupted, break, change or run beside each other: nothing is left behind or disturbed."""

# Models whose layers are reached by index and attribute, whatever their declared type.
# pyright: reportIndexIssue=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportOptionalMemberAccess=false, reportArgumentType=false, reportIncompatibleMethodOverride=false

import contextlib
import copy
import io
import pickle
import random
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
from fits import QUIET, Numbers, Regression, fit, loader, runtime_warnings, tanh_net
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, Optimizer
from torch.optim import optimizer as optimizers
from torch.overrides import _get_current_function_mode_stack, _pop_mode
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

import callbacks
from callbacks import ActivationHistogram, GradStats, SaturationMap, UpdateRatio

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
    ),
    pytest.mark.filterwarnings("ignore:.*A newer version of torch was released"),
]

Record = dict[str, Any]
Batch = list[Tensor]


class Records(Callback):
    """Keeps the records of all instruments of a Trainer, by step."""

    def __init__(self) -> None:
        self.steps: dict[int, Record] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        self._keep(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._keep(trainer)

    def _keep(self, trainer: Trainer) -> None:
        for instrument in trainer.callbacks:  # type: ignore[attr-defined]
            step = getattr(instrument, "latest_step", None)
            if step is not None:
                self.steps.setdefault(step, {}).update(instrument.latest)


def instruments(
    layers: list[str] | None = None, params: list[str] | None = None, **options: Any
) -> list[Any]:
    """All four instruments, at every step and without pictures."""
    common: dict[str, Any] = {"every_n_steps": 1, "figures": False, **options}
    return [
        ActivationHistogram(layers=layers, **common),
        GradStats(layers=layers, params=params, **common),
        UpdateRatio(params=params, **common),
        SaturationMap(layers=layers, **common),
    ]


def measure(
    make: Callable[[], LightningModule],
    chosen: Sequence[Callback] | None = None,
    **options: Any,
) -> dict[int, Record]:
    """Fits a model with all instruments at every step; returns their records by step."""
    records = Records()
    fit(make, [*(instruments() if chosen is None else chosen), records], **options)
    return records.steps


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


def assert_equal_records(one: dict[int, Record], other: dict[int, Record]) -> None:
    assert one.keys() == other.keys()
    for step, record in other.items():
        assert one[step].keys() == record.keys()
        for tag, value in record.items():
            if isinstance(value, float):
                assert one[step][tag] == pytest.approx(value, rel=1e-6, abs=1e-9), (
                    step,
                    tag,
                )


# 8. Lazy layers.


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.Tanh(), nn.LazyLinear(1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
@pytest.mark.parametrize(
    ("layers", "params"),
    [
        (None, None),
        (["*"], ["*"]),
        (["LazyLinear"], ["net.body.0.weight"]),
        (["Lazy*"], ["*weight"]),
    ],
    ids=str,
)
def test_lazy_layers(layers: list[str] | None, params: list[str] | None) -> None:
    with runtime_warnings() as warned:
        records = Records()
        _, module = fit(
            lambda: Regression(Lazy()),
            [*instruments(layers, params), records],
            max_steps=4,
        )
    _, bare = fit(lambda: Regression(Lazy()), max_steps=4)
    assert_same_weights(module, bare)
    assert sorted(records.steps) == [0, 1, 2, 3]
    chosen = "net.body.2" if layers is None else "net.body.0"
    for step, record in records.steps.items():
        assert f"activation_mean/{chosen}" in record, step
        assert ("update_ratio/net.body.0.weight" in record) or step == 0, step
    # The gradient of a bias before a batch normalization is rounding noise.
    assert [message for message in warned if "round" not in message] == []


# 9. Ctrl-C, and batches that never end.


class Everything(nn.Module):
    """Modules, functions and a reentrantly checkpointed segment."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.tanh, self.second = nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)
        self.gelu, self.head = nn.GELU(), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = checkpoint(
            lambda y: self.gelu(self.second(F.relu(y))),
            self.tanh(self.first(x)),
            use_reentrant=True,
        )
        return self.head(h)


def leftovers(module: nn.Module) -> list[str]:
    """Names what is still attached to a model, to optimizers or to PyTorch; and removes it."""
    found = []
    for name, layer in module.named_modules():
        for kind in (
            "_forward_hooks",
            "_forward_pre_hooks",
            "_backward_hooks",
            "_backward_pre_hooks",
        ):
            if getattr(layer, kind):
                found.append(f"{kind} of {name}")
        if layer._forward_pre_hooks_with_kwargs or layer._forward_hooks_with_kwargs:
            found.append(f"keyword flags of {name}")
    for name, param in module.named_parameters():
        if param._backward_hooks or getattr(param, "_post_accumulate_grad_hooks", None):
            found.append(f"hook of {name}")
    for hooks in (
        optimizers._global_optimizer_pre_hooks,
        optimizers._global_optimizer_post_hooks,
    ):
        found += [f"global optimizer hook {hook}" for hook in hooks.values()]
        hooks.clear()
    for mode in _get_current_function_mode_stack():
        found.append(f"mode {type(mode).__name__}")
        _pop_mode()
    return found


OURS = str(Path(callbacks.__file__).parent / "probe")
OF_TORCH = (
    str(Path(torch.__file__).parent / "utils" / "hooks.py"),
    str(Path(torch.__file__).parent / "overrides.py"),
    str(Path(torch.__file__).parent / "optim" / "optimizer.py"),
    str(Path(torch.__file__).parent / "nn" / "modules" / "module.py"),
)
REGISTRATION = {
    *(
        "attach",
        "detach",
        "sweep",
        "remove",
        "close",
        "begin_batch",
        "end_batch",
        "_backward",
        "observe",
        "safely",
    ),
    *(
        "register_forward_hook",
        "register_forward_pre_hook",
        "__init__",
        "__enter__",
        "__exit__",
        "_push_mode",
        "_pop_mode",
    ),
    *("register_optimizer_step_pre_hook", "register_optimizer_step_post_hook"),
}


class Interrupts:
    """Raises KeyboardInterrupt at the n-th instruction or line of the observation, as Ctrl-C would.

    Args:
        at: Number of the event.
        instructions: Whether events are instructions of what attaches and removes hooks, also of PyTorch's part in it;
            otherwise they are all lines of the probe.
    """

    def __init__(self, at: int, instructions: bool) -> None:
        self.at, self.instructions = at, instructions
        self.events, self.fired = 0, False

    def __call__(self, frame: Any, event: str, _: Any) -> Any:
        code = frame.f_code
        ours = code.co_filename.startswith(OURS)
        if self.instructions:
            if code.co_name not in REGISTRATION or not (
                ours or (code.co_filename in OF_TORCH and self._called_by_us(frame))
            ):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif not ours:
            return None
        return self._event

    def _called_by_us(self, frame: Any) -> bool:
        for _ in range(3):
            frame = frame.f_back
            if frame is None:
                return False
            if frame.f_code.co_filename.startswith(OURS):
                return True
        return False

    def _event(self, frame: Any, event: str, _: Any) -> Any:
        if event == ("opcode" if self.instructions else "line"):
            self.events += 1
            if self.events == self.at and not self.fired:
                self.fired = True
                raise KeyboardInterrupt
        return self._event


def interrupted_fit(at: int, instructions: bool) -> tuple[Interrupts, LightningModule]:
    """Fits two steps and interrupts them; returns the model as the fit leaves it."""
    seed_everything(11, verbose=False)
    module = Regression(Everything())
    trainer = Trainer(callbacks=instruments(), max_steps=2, **QUIET)
    data = loader()
    interrupts = Interrupts(at, instructions)
    before, state = sys.gettrace(), torch._C._get_torch_function_state()
    sys.settrace(interrupts)
    try:
        with (
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.suppress(KeyboardInterrupt, SystemExit),
        ):
            trainer.fit(module, data)
    finally:
        sys.settrace(before)
        # An exception of a tracer, unlike a signal, can come between a context manager's body and its exit.
        torch._C._set_torch_function_state(state)
    return interrupts, module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "instructions",
    [False, True],
    ids=["lines of the probe", "instructions that attach"],
)
@pytest.mark.parametrize(
    "points", [40, pytest.param(1_500, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_ctrl_c_leaves_nothing(instructions: bool, points: int) -> None:
    counted, module = interrupted_fit(-1, instructions)
    assert leftovers(module) == []
    assert counted.events > 100
    left: dict[int, list[str]] = {}
    fired = 0
    for at in range(1, counted.events + 1, max(1, counted.events // points)):
        interrupts, module = interrupted_fit(at, instructions)
        fired += interrupts.fired
        if found := leftovers(module):
            left[at] = found
    assert fired > 30
    assert left == {}, f"{len(left)} of {counted.events}"


class Stops(Regression):
    """Ends its first epoch in the middle of an accumulation."""

    def __init__(self, at: int) -> None:
        super().__init__(tanh_net())
        self.at = at
        self.left: list[str] = []
        self.gradients: list[float] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if self.current_epoch == 0 and batch_idx == self.at else None

    def on_train_epoch_end(self) -> None:
        self.left += leftovers(self)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.gradients.append(self.net[0].weight.grad.double().std().item())  # type: ignore[index]


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6])
def test_a_batch_that_never_ends_amid_an_accumulation(at: int) -> None:
    data = loader(rows=64)
    records = Records()
    chosen = [*instruments(), records]
    _, module = fit(
        lambda: Stops(at),
        chosen,
        data=data,
        accumulate_grad_batches=4,
        max_steps=-1,
        max_epochs=3,
    )
    _, bare = fit(
        lambda: Stops(at),
        data=data,
        accumulate_grad_batches=4,
        max_steps=-1,
        max_epochs=3,
    )
    assert_same_weights(module, bare)
    assert isinstance(module, Stops)
    assert module.left == []
    assert leftovers(module) == []
    measured = [
        record["weight_grad_std/net.0.weight"]
        for _, record in sorted(records.steps.items())
    ]
    assert measured == pytest.approx(module.gradients, rel=1e-5)
    counts = [
        record["activation/net.1"].moments.count
        for _, record in sorted(records.steps.items())
    ]
    assert counts == [4 * 64] * len(module.gradients)


# 11. NaN and infinities.


class Breaks(nn.Module):
    """Passes its input on, with a NaN in it or in its gradient in a broken step."""

    is_broken = False

    def __init__(self, forward: bool) -> None:
        super().__init__()
        self.breaks_forward = forward

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_broken:
            return x * 1
        if self.breaks_forward:
            mask = torch.zeros_like(x)
            mask[0, 0] = float("nan")
            return x + mask
        return BadGradient.apply(x)


class BadGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        gradient = gradient.clone()
        gradient[0, 0] = float("inf")
        return gradient


def broken_net(forward: bool) -> nn.Sequential:
    """Layers 0 to 6, of which layer 3 breaks."""
    return nn.Sequential(
        nn.Linear(4, 8),
        nn.Tanh(),
        nn.Linear(8, 8),
        Breaks(forward),
        nn.Tanh(),
        nn.Linear(8, 8),
        nn.Linear(8, 1),
    )


class Segmented(nn.Module):
    """Two reentrantly checkpointed segments, of which the given one breaks."""

    def __init__(self, broken: int, forward: bool, reentrant: bool = True) -> None:
        super().__init__()

        def segment(number: int) -> nn.Sequential:
            middle = Breaks(forward) if number == broken else nn.Identity()
            return nn.Sequential(
                nn.Linear(8, 8), nn.Tanh(), middle, nn.Tanh(), nn.Linear(8, 8)
            )

        self.first, self.one, self.two, self.head = (
            nn.Linear(4, 8),
            segment(1),
            segment(2),
            nn.Linear(8, 1),
        )
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for segment in (self.one, self.two):
            h = checkpoint(segment, h, use_reentrant=self.reentrant)
        return self.head(h)


class DefinedBackwards(nn.Module):
    """Calls its layers in the order opposite to that of their definition."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.second, self.breaks, self.first = (
            nn.Linear(8, 1),
            nn.Tanh(),
            Breaks(True),
            nn.Linear(4, 8),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.breaks(self.first(x))))


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.breaks = (
            nn.Linear(4, 8),
            nn.Linear(8, 1),
            Breaks(True),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        return self.second(F.gelu(self.breaks(h)))


class BreaksLater(Regression):
    """Has its layers break from step 2 on."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        for layer in self.modules():
            if isinstance(layer, Breaks):
                layer.is_broken = self.trainer.global_step >= 2
        return super().training_step(batch, batch_idx)


class LosesLoss(Regression):
    def __init__(self, add: float, multiply: float = 1.0) -> None:
        super().__init__(tanh_net())
        self.add, self.multiply = add, multiply

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return (
            loss * self.multiply + self.add if self.trainer.global_step == 2 else loss
        )


class LosesGradient(Regression):
    def on_after_backward(self) -> None:
        if self.trainer.global_step == 2:
            self.net[2].weight.grad[0, 0] = float("nan")  # type: ignore[index]


class LosesParameter(Regression):
    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        if self.trainer.global_step == 2:
            with torch.no_grad():
                self.net[2].weight[0, 0] = float("nan")  # type: ignore[index]


class LosesUpdate(SGD):
    """Optimizer whose third step writes an infinity into the last matrix."""

    asked = 0

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = super().step(closure)  # type: ignore[arg-type]
        self.asked += 1
        if self.asked == 3:
            with torch.no_grad():
                self.param_groups[0]["params"][4][0, 0] = float("inf")
        return loss


NAN = float("nan")
INF = float("inf")
FAULTS: dict[str, tuple[Callable[[], LightningModule], list[str] | None, str]] = {
    "forward": (lambda: BreaksLater(broken_net(True)), ["*"], "output of net.3 "),
    "forward, in a layer that is not observed": (
        lambda: BreaksLater(broken_net(True)),
        None,
        "output of net.4 ",
    ),
    "forward, against the order of definition": (
        lambda: BreaksLater(DefinedBackwards()),
        ["*"],
        "output of net.breaks ",
    ),
    "forward, in a function": (
        lambda: BreaksLater(Functional()),
        None,
        "output of net.gelu ",
    ),
    "backward": (
        lambda: BreaksLater(broken_net(False)),
        ["*"],
        "gradient of the output of net.2 ",
    ),
    "backward, in a layer that is not observed": (
        lambda: BreaksLater(broken_net(False)),
        None,
        "gradient of the output of net.1 ",
    ),
    "loss": (lambda: LosesLoss(0.0, NAN), None, "loss"),
    "loss alone": (lambda: LosesLoss(INF), None, "loss"),
    "gradient": (lambda: LosesGradient(tanh_net()), None, "gradient of net.2.weight "),
    "parameter": (lambda: LosesParameter(tanh_net()), None, "parameter net.2.weight "),
    "update": (
        lambda: Regression(tanh_net(), lambda params: LosesUpdate(params, lr=0.1)),
        None,
        "net.4.weight",
    ),
    "first segment, forward": (
        lambda: BreaksLater(Segmented(1, True)),
        ["*"],
        "output of net.one.2 ",
    ),
    "second segment, forward": (
        lambda: BreaksLater(Segmented(2, True)),
        ["*"],
        "output of net.two.2 ",
    ),
    "second segment, activations alone": (
        lambda: BreaksLater(Segmented(2, True)),
        None,
        "output of net.two.3 ",
    ),
    "first segment, backward": (
        lambda: BreaksLater(Segmented(1, False)),
        ["*"],
        "gradient of the output of net.one.1 ",
    ),
    "second segment, backward": (
        lambda: BreaksLater(Segmented(2, False)),
        ["*"],
        "gradient of the output of net.two.1 ",
    ),
    "second segment, not reentrant": (
        lambda: BreaksLater(Segmented(2, True, False)),
        ["*"],
        "output of net.two.2 ",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_one_warning_names_the_place_where_nan_began(name: str) -> None:
    make, layers, place = FAULTS[name]
    records = Records()
    with runtime_warnings() as warned:
        fit(make, [*instruments(layers), records], max_steps=5)
    assert len(warned) == 1, warned
    message = warned[0]
    assert "step 2" in message
    assert f"{message} ".find(place) >= 0
    for record in records.steps.values():
        for tag, value in record.items():
            if isinstance(value, float):
                assert value == value, tag
                assert abs(value) != INF, tag
    assert (
        any(tag.startswith("nonfinite/") for tag in records.steps[2]) or place == "loss"
    )


def with_scaler() -> MixedPrecision:
    return MixedPrecision(
        "16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0)
    )


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("multiply", [INF, NAN, 1e38])
def test_a_step_that_the_scaler_skips_is_no_fault(multiply: float, fused: bool) -> None:
    class Overflows(LosesLoss):
        def configure_optimizers(self) -> Optimizer:
            return Adam(self.parameters(), fused=fused)

    with runtime_warnings() as warned:
        records = measure(lambda: Overflows(0.0, multiply), plugins=[with_scaler()])
    assert warned == []
    assert sorted(records) == [0, 1, 2, 3, 4]
    assert not any(tag.startswith("update_ratio") for tag in records[2])


def test_a_fault_of_the_forward_pass_is_one_with_a_scaler_too() -> None:
    with runtime_warnings() as warned:
        measure(
            lambda: BreaksLater(broken_net(True)),
            instruments(["*"]),
            plugins=[with_scaler()],
        )
    (message,) = warned
    assert "output of net.3 " in message


# 12. Messages and arguments.


def test_messages_are_sentences() -> None:
    class Full(Numbers):
        def log_metrics(self, *_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

    with runtime_warnings() as warned:
        fit(lambda: Regression(tanh_net()), instruments(), logger=Full())
    assert warned
    for message in warned:
        assert "No space left on device. Training goes on." in message


@pytest.mark.parametrize(
    ("instrument", "argument"),
    [
        (ActivationHistogram, "params"),
        (SaturationMap, "params"),
        (UpdateRatio, "layers"),
    ],
)
def test_an_argument_without_use_is_not_taken_in_silence(
    instrument: Any, argument: str
) -> None:
    with runtime_warnings() as warned:
        instrument(**{argument: ["*"]})
    (message,) = warned
    assert instrument.__name__ in message
    assert argument in message


# 18. Compiled code.


class Compilable(nn.Module):
    """A container or a transformer's layer, which something compiles later, and a head."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        if kind == "Sequential":
            self.body: nn.Module = nn.Sequential(
                nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4), nn.GELU()
            )
        else:
            self.body = nn.TransformerEncoderLayer(
                4, 2, 8, dropout=0.0, batch_first=True
            )
        self.tanh, self.head = nn.Tanh(), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.tanh(self.body(x)))


class CompilesItself(Regression):
    """Compiles a layer in place in one of its own hooks, which come after those of callbacks."""

    def __init__(self, kind: str, moment: str, backend: str) -> None:
        super().__init__(Compilable(kind))
        self.moment, self.backend = moment, backend

    def _compile(self, moment: str) -> None:
        if moment == self.moment:
            self.net.body.compile(backend=self.backend)  # type: ignore[union-attr,operator]

    def on_fit_start(self) -> None:
        self._compile("on_fit_start")

    def on_train_start(self) -> None:
        self._compile("on_train_start")

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 1:
            self._compile("on_train_epoch_start")


def compiled_fit(
    make: Callable[[], LightningModule], chosen: Sequence[Callback], **options: Any
) -> tuple[LightningModule, dict[str, int]]:
    """Fits a model; returns it and what Dynamo counted."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    _, module = fit(make, chosen, **options)
    return module, dict(torch._dynamo.utils.counters["stats"])


BACKENDS = ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "moment", ["on_fit_start", "on_train_start", "on_train_epoch_start"]
)
@pytest.mark.parametrize("kind", ["Sequential", "TransformerEncoderLayer"])
def test_layers_that_are_compiled_when_training_starts(
    kind: str, moment: str, backend: str
) -> None:
    options: dict[str, Any] = {"max_steps": 12, "data": loader((6, 4))}

    def make() -> LightningModule:
        return CompilesItself(kind, moment, backend)

    bare, counted = compiled_fit(make, [], **options)
    with runtime_warnings():
        module, with_instruments = compiled_fit(make, instruments(), **options)
    assert_same_weights(module, bare)
    assert with_instruments == counted


def plain_function(x: Tensor) -> Tensor:
    return F.gelu(x) * torch.sigmoid(x) + x.tanh()


FUNCTIONS: dict[str, Any] = {}
"""Compiled functions by backend; a fit may find them in a module, which no attribute of a model leads to."""


class CallsCompiled(nn.Module):
    """Calls a compiled function beside eager activation functions."""

    def __init__(self, where: str, backend: str) -> None:
        super().__init__()
        self.first, self.second, self.head = (
            nn.Linear(4, 8),
            nn.Linear(8, 8),
            nn.Linear(8, 1),
        )
        compiled: Any = torch.compile(plain_function, backend=backend)
        if where == "attribute":
            self.function = compiled
            self.call = lambda x: self.function(x)
        elif where == "closure":
            self.call = lambda x: compiled(x)
        elif where == "global":
            FUNCTIONS[backend] = compiled
            self.call = lambda x: FUNCTIONS[backend](x)
        else:
            torch_compiled = torch.compile(self._method, backend=backend)
            self.call = lambda x: torch_compiled(x)

    def _method(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(x)) + plain_function(x)

    def forward(self, x: Tensor) -> Tensor:
        h = F.gelu(self.first(x))
        h = torch.tanh(self.second(self.call(h)))
        return self.head(h)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("where", ["attribute", "closure", "global", "method"])
@pytest.mark.parametrize("every_n_steps", [1, 5])
def test_functions_that_are_compiled(
    where: str, backend: str, every_n_steps: int
) -> None:
    def make() -> LightningModule:
        return Regression(CallsCompiled(where, backend))

    bare, counted = compiled_fit(make, [], max_steps=20)
    with runtime_warnings():
        chosen = instruments(every_n_steps=every_n_steps)
        module, with_instruments = compiled_fit(make, chosen, max_steps=20)
    assert_same_weights(module, bare)
    assert with_instruments == counted


# Loggers and files.


class Moody(Numbers):
    """A logger that raises at random."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.raised = 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # type: ignore[override]
        if self.random.random() < 0.4:
            self.raised += 1
            raise self.random.choice(
                [ConnectionError, OSError, ValueError, RuntimeError]
            )("out of order")
        super().log_metrics(metrics, step)


def rows_by_step(logger: Numbers) -> dict[int, dict[str, float]]:
    rows: dict[int, dict[str, float]] = {}
    for step, metrics in logger.rows:
        assert step is not None
        rows.setdefault(step, {}).update(metrics)
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_a_logger_that_raises_at_random_disturbs_nothing_else(
    seed: int, tmp_path: Path
) -> None:
    moody, steady = Moody(seed), Numbers()
    board = TensorBoardLogger(tmp_path)
    records = Records()
    with runtime_warnings() as warned:
        _, module = fit(
            lambda: Regression(tanh_net()),
            [*instruments(), records],
            logger=[moody, steady, board],
            max_steps=20,
        )
    _, bare = fit(lambda: Regression(tanh_net()), max_steps=20)
    assert_same_weights(module, bare)
    assert moody.raised
    assert 1 <= len(warned) <= 2
    assert "out of order" in warned[0]
    written = rows_by_step(steady)
    assert sorted(written) == list(range(20))
    assert written == {
        step: {tag: record[tag] for tag in written[step]}
        for step, record in records.steps.items()
    }


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("figures", [False, True])
def test_a_log_folder_that_is_deleted_amid_the_run(
    figures: bool, tmp_path: Path
) -> None:
    """TensorBoard's writer breaks for good, in a thread of its own; Lightning may raise where it closes it."""

    class Deletes(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
            if trainer.global_step == 3:
                shutil.rmtree(tmp_path / "logs")

    numbers, records, steady = instruments(figures=figures), Records(), Numbers()
    modules: list[LightningModule] = []

    def make() -> LightningModule:
        modules.append(Regression(tanh_net()))
        return modules[-1]

    with contextlib.suppress(FileNotFoundError):
        fit(
            make,
            [*numbers, records, Deletes()],
            logger=[TensorBoardLogger(tmp_path / "logs"), steady],
            max_steps=10,
        )
    fit(make, max_steps=10)
    assert_same_weights(*modules)
    assert leftovers(modules[0]) == []
    assert sorted(records.steps) == list(range(10))
    assert sorted(rows_by_step(steady)) == list(range(10))


class Slow(Regression):
    def train_dataloader(self) -> DataLoader[Any]:
        dataset = loader(rows=40).dataset
        return DataLoader(
            dataset, batch_size=8, num_workers=2, persistent_workers=self.persistent
        )  # type: ignore[arg-type]

    persistent: Any = False


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_of_a_loader_beside_the_drawing_process(
    persistent: bool, tmp_path: Path
) -> None:
    """Workers are forked while the drawing process and its pipes are open."""

    def make() -> LightningModule:
        module = Slow(tanh_net())
        module.persistent = persistent
        return module

    seed_everything(11, verbose=False)
    module, logger = make(), TensorBoardLogger(tmp_path)
    trainer = Trainer(
        **{**QUIET, "logger": logger}, callbacks=instruments(figures=True), max_epochs=4
    )
    trainer.fit(module)
    seed_everything(11, verbose=False)
    bare = make()
    Trainer(**QUIET, max_epochs=4).fit(bare)
    assert_same_weights(module, bare)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(
        str(next(tmp_path.rglob("events*"))), size_guidance={"images": 0}
    )
    events.Reload()
    assert {tag.split("/")[0] for tag in events.Tags()["images"]} >= {
        "activation_distribution",
        "update_ratio",
    }


# One instrument and two Trainers.


class FitsInside(Regression):
    """Fits another model inside its training step, once."""

    def __init__(self, net: nn.Module, inner: Callable[[], None]) -> None:
        super().__init__(net)
        self.inner, self.begun = inner, False

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.trainer.global_step == 2 and not self.begun:
            self.begun = True
            state = torch.random.get_rng_state()
            self.inner()
            torch.random.set_rng_state(state)
        return super().training_step(batch, batch_idx)


def inner_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("in_thread", [False, True])
def test_one_instrument_in_two_trainers_at_once(in_thread: bool, raises: bool) -> None:
    """It observes the fit that began first, says so, and the other fit is undisturbed."""
    chosen = instruments()
    modules: list[LightningModule] = []

    class Fails(Regression):
        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            if raises and batch_idx == 2:
                raise ArithmeticError
            return super().training_step(batch, batch_idx)

    def train_inner() -> None:
        torch.manual_seed(5)
        modules.append(Fails(inner_net()))
        with contextlib.suppress(ArithmeticError):
            Trainer(callbacks=chosen, max_steps=4, **QUIET).fit(modules[-1], loader())

    def inner() -> None:
        if in_thread:
            thread = threading.Thread(target=train_inner)
            thread.start()
            thread.join()
        else:
            train_inner()

    records = Records()
    with runtime_warnings() as warned:
        _, module = fit(
            lambda: FitsInside(tanh_net(), inner), [*chosen, records], max_steps=6
        )
    plain = Records()
    _, bare = fit(lambda: Regression(tanh_net()), [*instruments(), plain], max_steps=6)
    assert_same_weights(module, bare)
    assert_equal_records(records.steps, plain.steps)
    assert leftovers(module) == []
    assert leftovers(modules[0]) == []
    assert any("another Trainer" in message for message in warned)
    torch.manual_seed(5)
    alone = Regression(inner_net())
    Trainer(max_steps=2 if raises else 4, **QUIET).fit(alone, loader())
    assert_same_weights(modules[0], alone)


def test_two_fits_in_threads_each_with_its_own_instruments() -> None:
    """Hooks on optimizers are global, and modes belong to a thread: each fit sees its own steps alone."""
    data = loader(rows=400)
    barrier = threading.Barrier(2)
    records: dict[str, Records] = {}
    modules: dict[str, LightningModule] = {}

    class Waits(Callback):
        def on_train_batch_start(self, *_: Any, **__: Any) -> None:
            with contextlib.suppress(threading.BrokenBarrierError):
                barrier.wait(timeout=20)

    def train(name: str, net: Callable[[], nn.Module], chosen: list[Any]) -> None:
        records[name] = Records()
        Trainer(callbacks=[*chosen, records[name], Waits()], max_steps=30, **QUIET).fit(
            modules[name], data
        )
        barrier.abort()

    nets: dict[str, Callable[[], nn.Module]] = {
        "tanh": tanh_net,
        "everything": Everything,
    }
    initial: dict[str, LightningModule] = {}
    for name, net in nets.items():
        torch.manual_seed(3)
        modules[name] = Regression(net())
        initial[name] = copy.deepcopy(modules[name])
    threads = [
        threading.Thread(target=train, args=(name, net, instruments()))
        for name, net in nets.items()
    ]
    with runtime_warnings() as warned:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert warned == []
    for name in nets:
        alone = Records()
        Trainer(callbacks=[*instruments(), alone], max_steps=30, **QUIET).fit(
            initial[name], data
        )
        assert_same_weights(modules[name], initial[name])
        assert_equal_records(records[name].steps, alone.steps)


def test_hooks_come_and_go_while_another_thread_steps_an_optimizer() -> None:
    """PyTorch iterates over one global dictionary of hooks at each step of any optimizer, in any thread."""
    begun, attached, errors = threading.Event(), threading.Event(), []

    def waits(optimizer: Optimizer, *_: Any) -> None:
        if threading.current_thread() is thread:
            begun.set()
            attached.wait(timeout=20)

    def step() -> None:
        weight = torch.ones(2, requires_grad=True)
        weight.sum().backward()
        try:
            SGD([weight], lr=0.1).step()
        except Exception as error:
            errors.append(error)

    class Releases(Callback):
        def on_train_batch_start(self, *_: Any, **__: Any) -> None:
            attached.set()

    thread = threading.Thread(target=step)
    # Two of them: an iterator does not look again after the last.
    handles = [
        optimizers.register_optimizer_step_pre_hook(hook)
        for hook in (waits, lambda *_: None)
    ]
    try:
        thread.start()
        assert begun.wait(timeout=20)
        records = measure(
            lambda: ByHand(tanh_net()),
            [*instruments(), Releases()],
            max_steps=-1,
            max_epochs=1,
        )
        thread.join()
    finally:
        for handle in handles:
            handle.remove()
    assert errors == [], errors
    assert sorted(records) == [0, 1, 2, 3, 4]


# Tensors of other kinds.


@pytest.fixture
def _one_process(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


class AsDTensor(nn.Module):
    """Gives its input out as a DTensor."""

    def __init__(self, shard: bool) -> None:
        super().__init__()
        self.shard = shard

    def forward(self, x: Tensor) -> Tensor:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import DTensor, Replicate, Shard

        mesh = init_device_mesh("cpu", (1,))
        return DTensor.from_local(x, mesh, [Shard(0) if self.shard else Replicate()])


class AsLocal(nn.Module):
    def forward(self, x: Any) -> Tensor:
        return x.to_local()


class Quantizes(nn.Module):
    """Gives out a quantized tensor beside its input."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, torch.quantize_per_tensor(x.detach(), 0.1, 0, torch.quint8)


class OnMeta(nn.Module):
    """Gives out a tensor without values beside its input."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, torch.empty(3, 3, device="meta", requires_grad=True) * 2


class First(nn.Module):
    def forward(self, values: tuple[Tensor, ...]) -> Tensor:
        return values[0]


ODD: dict[str, Callable[[], list[nn.Module]]] = {
    "sharded DTensor": lambda: [AsDTensor(True), AsLocal()],
    "replicated DTensor": lambda: [AsDTensor(False), AsLocal()],
    "quantized": lambda: [Quantizes(), First()],
    "meta": lambda: [OnMeta(), First()],
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.usefixtures("_one_process")
@pytest.mark.parametrize("name", ODD)
def test_outputs_of_other_kinds(name: str) -> None:
    """What can be measured is right, and what cannot be costs no series but its own."""

    def net(middle: list[nn.Module]) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), *middle, nn.Linear(8, 1))

    records = Records()
    with runtime_warnings() as warned:
        _, module = fit(
            lambda: Regression(net(ODD[name]())), [*instruments(["*"]), records]
        )
    plain = Records()
    identities: list[nn.Module] = [nn.Identity(), nn.Identity()]
    _, bare = fit(lambda: Regression(net(identities)), [*instruments(["*"]), plain])
    assert_same_weights(module, bare)
    assert leftovers(module) == []
    for step, expected in plain.steps.items():
        for tag, value in expected.items():
            if not tag.endswith("/net.2") and isinstance(value, float):
                assert records.steps[step][tag] == pytest.approx(value, rel=1e-6), tag
        mean = records.steps[step].get(
            "activation_mean/net.2", records.steps[step].get("activation_mean/net.2.0")
        )
        if mean is not None:
            assert mean == pytest.approx(expected["activation_mean/net.2"], rel=1e-6)
    assert len(warned) <= 2
    assert all("net.2" in message for message in warned)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_parameters_on_the_meta_device() -> None:
    """A part of a model that is not there yet."""

    class Absent:
        """Adds a layer without values when training starts."""

        def on_train_start(self) -> None:
            self.net.append(nn.Linear(4, 4, device="meta"))  # type: ignore[attr-defined]

        def on_train_end(self) -> None:
            del self.net[5]  # type: ignore[attr-defined]  # Lightning moves the model back

        def forward(self, x: Tensor) -> Tensor:
            return self.net[:5](x)  # type: ignore[attr-defined]

    class Automatic(Absent, Regression): ...

    class Manual(Absent, ByHand): ...

    for kind in (Automatic, Manual):
        records = measure(lambda kind=kind: kind(tanh_net()))
        assert sorted(records) == [0, 1, 2, 3, 4]
        for record in records.values():
            assert {
                "update_ratio/net.0.weight",
                "weight_std/net.2.weight",
                "grad_norm/total",
            } <= record.keys()
            assert "update_ratio/net.5.weight" not in record


# In the middle of an accumulation.


class ByHand(Regression):
    """Manual optimization that accumulates some batches."""

    def __init__(self, net: nn.Module, every: int = 1) -> None:
        super().__init__(net)
        self.automatic_optimization, self.every = False, every

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
        self.manual_backward(super().training_step(batch, batch_idx))
        if (batch_idx + 1) % self.every == 0:
            optimizer: Any = self.optimizers()
            optimizer.step()
            optimizer.zero_grad()


class Each(Callback):
    """Does something at the end of each batch."""

    def __init__(self, function: Callable[[Trainer, LightningModule], None]) -> None:
        self.function = function

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        self.function(trainer, pl_module)


@pytest.mark.parametrize("by_hand", [False, True])
def test_copies_made_amid_an_accumulation(by_hand: bool) -> None:
    """A copy of an instrument or a model is free of the fit, and the fit goes on."""
    data = loader(rows=64)
    options: dict[str, Any] = {"data": data, "max_steps": -1, "max_epochs": 2}
    if not by_hand:
        options["accumulate_grad_batches"] = 4

    def make() -> LightningModule:
        return ByHand(tanh_net(), 4) if by_hand else Regression(tanh_net())

    def copies(trainer: Trainer, module: LightningModule) -> None:
        for instrument in trainer.callbacks[:4]:  # type: ignore[attr-defined]
            for copied in (
                copy.deepcopy(instrument),
                pickle.loads(pickle.dumps(instrument)),
            ):
                assert copied.schedule == instrument.schedule
                fit(lambda: Regression(inner_net()), [copied], max_steps=2)
                assert copied.latest_step == 1
        for copied_net in (
            copy.deepcopy(module.net),
            pickle.loads(pickle.dumps(module.net)),
        ):
            assert leftovers_of_layers(copied_net) == []
            copied_net(torch.ones(2, 4))

    records = Records()
    _, module = fit(make, [*instruments(), records, Each(copies)], **options)
    plain = Records()
    _, bare = fit(make, [*instruments(), plain], **options)
    assert_same_weights(module, bare)
    assert_equal_records(records.steps, plain.steps)


def leftovers_of_layers(net: nn.Module) -> list[str]:
    """Names the layers whose hooks do anything but nothing."""
    named = {
        name: [*layer._forward_hooks.values(), *layer._forward_pre_hooks.values()]
        for name, layer in net.named_modules()
    }
    return [
        name
        for name, hooks in named.items()
        if any(not hasattr(hook, "__code__") for hook in hooks)
    ]


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("by_hand", [False, True])
def test_resume_amid_an_accumulation(by_hand: bool, at: int, tmp_path: Path) -> None:
    """A resumed fit measures the batches that it runs, beside a callback that keeps account of them itself."""
    options: dict[str, Any] = {"max_epochs": 2, **QUIET}
    if not by_hand:
        options["accumulate_grad_batches"] = 4

    def make() -> LightningModule:
        torch.manual_seed(11)
        return ByHand(tanh_net(), 4) if by_hand else Regression(tanh_net())

    def save(trainer: Trainer, module: LightningModule) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx + 1 == at:
            trainer.save_checkpoint(tmp_path / "amid.ckpt")

    Trainer(callbacks=[*instruments(), Each(save)], **options).fit(
        make(), loader(rows=64)
    )
    expected: list[tuple[int, float]] = []

    class Account(Callback):
        """Counts outputs of a layer, and keeps the gradient that the optimizer is about to take."""

        count = 0

        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            def hook(layer: nn.Module, inputs: Any, output: Tensor) -> None:
                self.count += output.numel()

            self.handle = pl_module.net[1].register_forward_hook(hook)  # type: ignore[union-attr,index,operator]

        def on_before_optimizer_step(
            self, trainer: Trainer, pl_module: LightningModule, *_: Any
        ) -> None:
            gradient = pl_module.net[0].weight.grad.double().std().item()  # type: ignore[union-attr,index]
            expected.append((self.count, gradient))
            self.count = 0

        def on_train_end(self, *_: Any) -> None:
            self.handle.remove()

    records = Records()
    chosen = [*instruments(), records, Account()]
    Trainer(callbacks=chosen, **options).fit(
        make(), loader(rows=64), ckpt_path=tmp_path / "amid.ckpt", weights_only=True
    )
    measured = [
        (
            record["activation/net.1"].moments.count,
            record["weight_grad_std/net.0.weight"],
        )
        for step, record in sorted(records.steps.items())
        if "weight_grad_std/net.0.weight" in record
    ]
    assert [count for count, _ in measured] == [count for count, _ in expected]
    assert [gradient for _, gradient in measured] == pytest.approx(
        [gradient for _, gradient in expected], rel=1e-5
    )
