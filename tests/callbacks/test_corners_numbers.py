"""Numbers in unusual trainings, beside numbers that plain float64 PyTorch computes of the same training."""

# Models whose layers are reached by index and attribute, whatever their declared type.
# pyright: reportIndexIssue=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportOptionalMemberAccess=false, reportArgumentType=false, reportIncompatibleMethodOverride=false

import copy
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from fits import QUIET, Regression, fit, loader, runtime_warnings, tanh_net
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm
from torch.optim import ASGD, SGD, Adam, AdamW, Optimizer, Rprop
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from callbacks import ActivationHistogram, GradStats, SaturationMap, UpdateRatio

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
    ),
    pytest.mark.filterwarnings(
        "ignore:.*configure_optimizers. returned .None.:UserWarning"
    ),
]

Record = dict[str, Any]
Batch = list[Tensor]
LEARNING_RATE = 0.1


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
    layers: list[str] | None = None,
    params: list[str] | None = None,
    every_n_steps: int = 1,
    **options: Any,
) -> list[Any]:
    """All four instruments, without pictures."""
    common: dict[str, Any] = {
        "every_n_steps": every_n_steps,
        "figures": False,
        **options,
    }
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


def batches(number: int, rows: int = 8) -> list[Batch]:
    return list(loader(rows=number * rows))[:number]


def squared_error(net: nn.Module, batch: Batch) -> Tensor:
    """The loss of `Regression`."""
    x, y = batch
    output = net(x)
    output = output[0] if isinstance(output, tuple) else output
    return (output.flatten(1).mean(1, keepdim=True) - y).square().mean()


class Reference:
    """Plain SGD in float64, and the numbers of each of its steps."""

    def __init__(
        self, net: nn.Module, loss: Callable[[nn.Module, Batch], Tensor] = squared_error
    ) -> None:
        self.net, self.loss = copy.deepcopy(net).double(), loss

    def step(self, window: Sequence[Batch]) -> Record:
        """Takes one step with the summed gradients of some batches."""
        outputs: dict[str, list[Tensor]] = {}
        gradients: dict[str, list[Tensor]] = {}

        def keep(name: str) -> Callable[..., None]:
            def hook(layer: nn.Module, inputs: Any, output: Tensor) -> None:
                outputs.setdefault(name, []).append(output.detach().clone())
                output.register_hook(
                    lambda gradient: (
                        gradients.setdefault(name, []).append(gradient.clone()) or None
                    )
                )

            return hook

        handles = [
            layer.register_forward_hook(keep(name))
            for name, layer in self.net.named_modules()
            if isinstance(layer, nn.Tanh)
        ]
        for batch in window:
            self.loss(self.net, [part.double() for part in batch]).backward()
        for handle in handles:
            handle.remove()
        record: Record = {}
        for name in outputs:
            record |= mean_and_std(f"activation_{{}}/net.{name}", outputs[name])
            record |= mean_and_std(f"activation_grad_{{}}/net.{name}", gradients[name])
        return record | self._move()

    def _move(self) -> Record:
        record: Record = {}
        params = dict(self.net.named_parameters())
        present = [param.grad for param in params.values() if param.grad is not None]
        record["grad_norm/total"] = math.sqrt(
            sum(gradient.square().sum().item() for gradient in present)
        )
        for name, param in params.items():
            if param.ndim < 2 or param.grad is None:
                continue
            before = param.detach().clone()
            record |= mean_and_std(f"weight_grad_{{}}/net.{name}", [param.grad])
            record |= mean_and_std(f"weight_{{}}/net.{name}", [before])
            record[f"grad_data_ratio/net.{name}"] = (
                param.grad.std() / before.std()
            ).item()
            after = before - LEARNING_RATE * param.grad
            record[f"update_ratio/net.{name}"] = math.log10(
                ((after - before).std() / after.std()).item()
            )
        with torch.no_grad():
            for param in params.values():
                if param.grad is not None:
                    param -= LEARNING_RATE * param.grad
                    param.grad = None
        return record


def mean_and_std(tag: str, values: Sequence[Tensor]) -> dict[str, float]:
    joined = torch.cat([value.detach().double().flatten() for value in values])
    return {
        tag.format("mean"): joined.mean().item(),
        tag.format("std"): joined.std().item(),
    }


def assert_same(record: Record, expected: Record, rel: float = 1e-4) -> None:
    """Checks that a record has the expected numbers, and those of its plots have no others."""
    plots = {tag.split("/")[0] for tag in expected}
    numbers = {
        tag: value for tag, value in record.items() if tag.split("/")[0] in plots
    }
    assert sorted(numbers) == sorted(expected)
    for tag, value in expected.items():
        assert numbers[tag] == pytest.approx(value, rel=rel, abs=1e-6), tag


def initial(make: Callable[[], nn.Module]) -> nn.Module:
    """Returns the network that `fit` starts from."""
    torch.manual_seed(11)
    return make()


class ByHand(Regression):
    """Regression in manual optimization; its optimizer steps after so many batches."""

    def __init__(self, net: nn.Module, every: int = 1) -> None:
        super().__init__(net, lambda params: SGD(params, lr=LEARNING_RATE))
        self.automatic_optimization, self.every = False, every

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
        self.manual_backward(super().training_step(batch, batch_idx))
        if (batch_idx + 1) % self.every == 0:
            self.move()

    def move(self) -> None:
        optimizer: Any = self.optimizers()
        optimizer.step()
        optimizer.zero_grad()


# 1. One series for one thing.


class Returns(nn.Module):
    """Calls its children, and returns their outputs in some structure."""

    def __init__(
        self, children: dict[str, nn.Module], structure: Callable[[list[Tensor]], Any]
    ) -> None:
        super().__init__()
        self.names = list(children)
        for name, child in children.items():
            self.add_module(name, child)
        self.structure = structure

    def forward(self, x: Tensor) -> Any:
        return self.structure([getattr(self, name)(x) for name in self.names])


class Predicts(nn.Module):
    """A body of any output, and a prediction from the sum of all its tensors."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        leaves = [
            leaf for leaf in tree_leaves(self.body(x)) if isinstance(leaf, Tensor)
        ]
        return x.mean(1, keepdim=True) + sum(leaf.mean() for leaf in leaves)


class CallsFunctions(nn.Module):
    """Calls functions, and children that have their names."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.tanh = nn.Linear(4, 5), nn.Linear(4, 7)
        self.relu_1, self.sigmoid = nn.Linear(4, 3), nn.Sigmoid()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        first = F.relu(self.relu(x))
        second = torch.tanh(self.tanh(x))
        return F.relu(self.relu_1(x)), first, second, self.sigmoid(x).sigmoid()


def linears(*names: str) -> dict[str, nn.Module]:
    return {name: nn.Linear(4, 3 + index) for index, name in enumerate(names)}


BODIES: dict[str, Callable[[], nn.Module]] = {
    "a container's output and its child": lambda: nn.Sequential(
        nn.Linear(4, 8), nn.LSTM(8, 6)
    ),
    "a child and a dict key": lambda: Returns(
        linears("hidden", "other"),
        lambda x: {"hidden": x[1], "other": x[0], "more": x[0] * 2},
    ),
    "nested keys and dotted keys": lambda: Returns(
        linears("a", "b", "c"),
        lambda x: {"a.b": x[0], "a": {"b": x[1]}, "c": [x[2]], "c.0": x[0] + 1},
    ),
    "keys of two types": lambda: Returns(
        linears("a", "b"), lambda x: {0: x[0], "0": x[1], 1.0: x[0] * 3, "1": x[1]}
    ),
    "brackets in keys": lambda: Returns(
        linears("a", "b"), lambda x: {"0": x[0], "[0]": x[1], "": x[1] + 1}
    ),
    "depth that adds up": lambda: Returns(
        {"inner": Returns(linears("0", "1"), tuple), "inner_0": nn.Linear(4, 2)},
        lambda x: ({"inner": x[0]}, x[1]),
    ),
    "functions and children": CallsFunctions,
}


class Outputs:
    """Outputs of all modules and activation functions of a network, by plain hooks and patched functions."""

    def __init__(self, net: nn.Module, x: Tensor) -> None:
        self.values: list[Tensor] = []
        self.of_layers: dict[str, Tensor] = {}
        handles = [
            layer.register_forward_hook(
                lambda _, __, output, name=name: self._keep(name, output)
            )
            for name, layer in net.named_modules(prefix="net")
            if name
        ]
        net(x)
        for handle in handles:
            handle.remove()

    def _keep(self, name: str, output: Any) -> None:
        leaves = [
            leaf.detach().double()
            for leaf in tree_leaves(output)
            if isinstance(leaf, Tensor)
        ]
        self.values += leaves
        if isinstance(output, Tensor):
            self.of_layers[name] = leaves[0]


@pytest.mark.parametrize("name", BODIES)
def test_each_thing_has_its_own_series(name: str) -> None:
    def make() -> nn.Module:
        return Predicts(BODIES[name]())

    record = measure(lambda: Regression(make()), instruments(["*"]), max_steps=1)[0]
    outputs = Outputs(initial(make), batches(1)[0][0])
    expected = [(value.numel(), value.mean().item()) for value in outputs.values]
    if name == "functions and children":
        body = initial(make).body
        x = batches(1)[0][0]
        with torch.no_grad():
            called = [
                body.relu(x).relu(),
                body.tanh(x).tanh(),
                body.relu_1(x).relu(),
                x.sigmoid().sigmoid(),
            ]
        expected += [(value.numel(), value.double().mean().item()) for value in called]
    series = {
        tag.split("/")[1]: value
        for tag, value in record.items()
        if tag.startswith("activation/")
    }
    measured = sorted(
        (histogram.moments.count, histogram.moments.mean)
        for histogram in series.values()
    )
    assert [count for count, _ in measured] == [count for count, _ in sorted(expected)]
    assert [mean for _, mean in measured] == pytest.approx(
        [mean for _, mean in sorted(expected)], abs=1e-6
    )
    for layer, output in outputs.of_layers.items():
        assert series[layer].moments.count == output.numel()
        assert record[f"activation_mean/{layer}"] == pytest.approx(
            output.mean().item(), abs=1e-6
        )


def test_a_layer_that_is_chosen_by_itself_keeps_its_path() -> None:
    make = BODIES["a container's output and its child"]
    record = measure(
        lambda: Regression(Predicts(make())), instruments(["LSTM"]), max_steps=1
    )[0]
    counts = {
        tag: value.moments.count
        for tag, value in record.items()
        if tag.startswith("activation/")
    }
    prefix = "activation/net.body.1"
    assert counts == {f"{prefix}.0": 8 * 6, f"{prefix}.1.0": 6, f"{prefix}.1.1": 6}


def test_names_that_utf8_cannot_encode_stay_apart() -> None:
    names = ("layer\ud800", "layer\ud801")

    def make() -> nn.Module:
        return Predicts(Returns(linears(*names), tuple))

    record = measure(lambda: Regression(make()), instruments(["Linear"]), max_steps=1)[
        0
    ]
    counts = sorted(
        value.moments.count
        for tag, value in record.items()
        if tag.startswith("activation/")
    )
    assert counts == [8 * 3, 8 * 4]
    assert len([tag for tag in record if tag.startswith("update_ratio/")]) == 2


# 2, 3. Manual optimization.


@pytest.mark.parametrize(("every", "steps"), [(100, 1), (70, 3), (3, 5)])
def test_micro_batches_accumulated_by_hand(every: int, steps: int) -> None:
    data = batches(every * steps)
    with runtime_warnings() as warned:
        records = measure(
            lambda: ByHand(tanh_net(), every),
            data=loader(rows=8 * every * steps),
            max_steps=-1,
            max_epochs=1,
        )
    reference = Reference(initial(tanh_net))
    assert sorted(records) == [every * step for step in range(steps)]
    for step in range(steps):
        window = data[every * step : every * (step + 1)]
        assert_same(records[every * step], reference.step(window))
        assert records[every * step]["activation/net.1"].moments.count == 64 * every
    assert len(warned) == (every > 64)


def test_a_step_that_is_due_amid_an_accumulation_has_all_its_micro_batches() -> None:
    data = batches(12)
    chosen = instruments(every_n_steps=6, dense_start=False)
    records = measure(
        lambda: ByHand(tanh_net(), 4),
        chosen,
        data=loader(rows=96),
        max_steps=-1,
        max_epochs=1,
    )
    reference = Reference(initial(tanh_net))
    expected = [reference.step(data[start : start + 4]) for start in (0, 4, 8)]
    assert_same(records[0], expected[0])
    counts = {
        step: record["activation/net.1"].moments.count
        for step, record in records.items()
    }
    assert set(counts.values()) == {4 * 64}, counts


def in_place(params: Sequence[nn.Parameter]) -> None:
    with torch.no_grad():
        for param in params:
            param -= LEARNING_RATE * param.grad  # type: ignore[operator]


def by_data(params: Sequence[nn.Parameter]) -> None:
    for param in params:
        param.data -= LEARNING_RATE * param.grad  # type: ignore[operator]


def by_new_data(params: Sequence[nn.Parameter]) -> None:
    for param in params:
        param.data = param.data - LEARNING_RATE * param.grad  # type: ignore[operator]


def by_copy(params: Sequence[nn.Parameter]) -> None:
    for param in params:
        param.detach().copy_(param.detach() - LEARNING_RATE * param.grad)  # type: ignore[operator]


class Lecture(ByHand):
    """Moves its parameters by hand, as the lecture does, without an optimizer."""

    def __init__(
        self,
        net: nn.Module,
        move: Callable[[Sequence[nn.Parameter]], None],
        every: int = 1,
    ) -> None:
        super().__init__(net, every)
        self.moves = move

    def move(self) -> None:
        self.moves(list(self.parameters()))
        for param in self.parameters():
            param.grad = None

    def configure_optimizers(self) -> None:  # type: ignore[override]
        return None


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("move", [in_place, by_data, by_new_data, by_copy])
def test_parameters_moved_without_an_optimizer(
    move: Callable[[Sequence[nn.Parameter]], None], every: int
) -> None:
    data = batches(4 * every)
    options: dict[str, Any] = {
        "data": loader(rows=32 * every),
        "max_steps": -1,
        "max_epochs": 1,
    }
    records = measure(lambda: Lecture(tanh_net(), move, every), **options)
    reference = Reference(initial(tanh_net))
    assert sorted(records) == [every * step for step in range(4)]
    for step in range(4):
        expected = reference.step(data[every * step : every * (step + 1)])
        assert records[every * step]["activation/net.1"].moments.count == 64 * every
        # No optimizer announces its gradients, so that only layers, parameters and updates can be measured.
        gradients = ("weight_grad", "grad_norm", "grad_data")
        assert_same(
            records[every * step],
            {tag: x for tag, x in expected.items() if not tag.startswith(gradients)},
        )


class OfScale(nn.Module):
    """Network whose output does not depend on the norm of its weights: their gradients are orthogonal to them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.tanh, self.second = (
            nn.Linear(4, 8, bias=False),
            nn.Tanh(),
            nn.Linear(8, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        first = self.first.weight / self.first.weight.norm()
        second = self.second.weight / self.second.weight.norm()
        return F.linear(self.tanh(F.linear(x, first)), second)


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_parameters_moved_by_hand_with_their_norm_kept(scale: float) -> None:
    def move(params: Sequence[nn.Parameter]) -> None:
        for param in params:
            param.data -= scale * LEARNING_RATE * param.grad  # type: ignore[operator]

    records = measure(lambda: Lecture(OfScale(), move), max_steps=-1, max_epochs=1)
    assert sorted(records) == [0, 1, 2, 3, 4]
    assert all(
        record["activation/net.tanh"].moments.count == 64 for record in records.values()
    )


@pytest.mark.parametrize("drop", [3, 20])
def test_rows_swapped_by_hand_are_a_step(drop: int) -> None:
    def move(params: Sequence[nn.Parameter]) -> None:
        for param in params:
            param.data = param.data.flip(0)

    records = measure(lambda: Lecture(tanh_net(), move), max_steps=-1, max_epochs=1)
    assert sorted(records) == [0, 1, 2, 3, 4]


# 4. Activation checkpointing.


class Recomputes(torch.autograd.Function):
    """Keeps only its input and calls the network again in the backward pass, as reversible networks do."""

    @staticmethod
    def forward(ctx: Any, net: nn.Module, x: Tensor, *params: Tensor) -> Tensor:
        ctx.net = net
        ctx.save_for_backward(x)
        with torch.no_grad():
            return net(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        x = x.detach().requires_grad_()
        params = list(ctx.net.parameters())
        with torch.enable_grad():
            output = ctx.net(x)
        return None, *torch.autograd.grad(output, [x, *params], gradient)


class Square(torch.autograd.Function):
    """Custom function whose backward pass is the first to ask for a saved tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


Call = Callable[[nn.Module, Tensor], Tensor]
CALLS: dict[str, Call] = {
    "plain": lambda layer, x: layer(x),
    "reentrant": lambda layer, x: checkpoint(layer, x, use_reentrant=True),
    "non-reentrant": lambda layer, x: checkpoint(layer, x, use_reentrant=False),
    "recomputing function": lambda layer, x: Recomputes.apply(
        layer, x, *layer.parameters()
    ),
    "nested": lambda layer, x: checkpoint(
        lambda y: checkpoint(layer, y, use_reentrant=False), x, use_reentrant=False
    ),
    "nested reentrant": lambda layer, x: checkpoint(
        lambda y: checkpoint(layer, y, use_reentrant=True), x, use_reentrant=True
    ),
    "reentrant in non-reentrant": lambda layer, x: checkpoint(
        lambda y: checkpoint(layer, y, use_reentrant=True), x, use_reentrant=False
    ),
    "non-reentrant in reentrant": lambda layer, x: checkpoint(
        lambda y: checkpoint(layer, y, use_reentrant=False), x, use_reentrant=True
    ),
}


class Block(nn.Module):
    """Two layers, modules and functions, and perhaps a custom autograd function."""

    def __init__(self, functions: bool, squares: bool) -> None:
        super().__init__()
        self.linear, self.tanh, self.more = nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)
        self.functions, self.squares = functions, squares

    def forward(self, x: Tensor) -> Tensor:
        h = self.tanh(self.linear(x))
        h = torch.sigmoid(self.more(h)) + F.relu(h) if self.functions else self.more(h)
        return Square.apply(h) if self.squares else h


class Segments(nn.Module):
    """Calls one block several times, each in its own way."""

    def __init__(
        self,
        calls: Sequence[str],
        functions: bool = False,
        squares: bool = False,
        teacher: bool = False,
    ) -> None:
        super().__init__()
        self.first, self.block, self.head = (
            nn.Linear(4, 8),
            Block(functions, squares),
            nn.Linear(8, 1),
        )
        self.calls, self.teacher = calls, teacher

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if self.teacher:
            with torch.no_grad():
                self.block(h)
        for call in self.calls:
            h = CALLS[call](self.block, h)
        return self.head(h)


SEGMENTS = [
    ["reentrant"],
    ["non-reentrant"],
    ["recomputing function"],
    ["plain", "reentrant"],
    ["reentrant", "plain"],
    ["reentrant", "plain", "reentrant", "plain"],
    ["plain", "non-reentrant"],
    ["non-reentrant", "plain"],
    ["plain", "recomputing function", "plain"],
    ["reentrant", "non-reentrant"],
    ["non-reentrant", "reentrant"],
    ["recomputing function", "reentrant", "plain", "non-reentrant"],
    ["nested"],
    ["nested reentrant"],
    ["reentrant in non-reentrant"],
    ["non-reentrant in reentrant"],
]


def assert_equal_records(one: Record, other: Record) -> None:
    assert sorted(one) == sorted(other)
    for tag, value in other.items():
        if isinstance(value, float):
            assert one[tag] == pytest.approx(value, rel=1e-4, abs=1e-6), tag
        else:
            counts = one[tag].moments.count, value.moments.count
            assert counts[0] == counts[1], tag


@pytest.mark.parametrize("teacher", [False, True], ids=["", "with a teacher"])
@pytest.mark.parametrize("squares", [False, True], ids=["", "with a custom function"])
@pytest.mark.parametrize("functions", [False, True], ids=["modules", "functions"])
@pytest.mark.parametrize("calls", SEGMENTS, ids=", ".join)
def test_checkpointed_calls_count_once(
    calls: list[str], functions: bool, squares: bool, teacher: bool
) -> None:
    def records(of: Sequence[str], teaches: bool) -> dict[int, Record]:
        return measure(
            lambda: Regression(Segments(of, functions, squares, teaches)),
            instruments(["*"]),
            max_steps=2,
        )

    checkpointed, plain = (
        records(calls, teacher),
        records(["plain"] * len(calls), False),
    )
    for step in (0, 1):
        assert plain[step]["activation/net.block.tanh"].moments.count == 64 * len(calls)
        assert ("activation/net.block.sigmoid" in plain[step]) == functions
        assert_equal_records(checkpointed[step], plain[step])


@pytest.mark.parametrize(
    "calls",
    [["reentrant", "plain"], ["non-reentrant"], ["recomputing function"]],
    ids=", ".join,
)
def test_checkpointed_calls_accumulated_by_hand(calls: list[str]) -> None:
    def records(of: Sequence[str]) -> dict[int, Record]:
        options: dict[str, Any] = {
            "data": loader(rows=48),
            "max_steps": -1,
            "max_epochs": 1,
        }
        return measure(lambda: ByHand(Segments(of), 3), instruments(["*"]), **options)

    checkpointed, plain = records(calls), records(["plain"] * len(calls))
    assert sorted(checkpointed) == [0, 3]
    for step in (0, 3):
        assert_equal_records(checkpointed[step], plain[step])


# 5. Optimizers of others.


class WithInner(ByHand):
    """Optimizes something else in its own training step."""

    def __init__(
        self, net: nn.Module, every: int, inner: Callable[["WithInner"], None]
    ) -> None:
        super().__init__(net, every)
        self.inner = inner

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
        self.inner(self)
        super().training_step(batch, batch_idx)


def own_leaf(module: LightningModule) -> None:
    leaf = torch.ones(3, 3, requires_grad=True)
    optimizer = Adam([leaf], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        leaf.square().sum().backward()
        optimizer.step()


def own_copy(module: WithInner) -> None:
    adapted = copy.deepcopy(module.net)
    optimizer = SGD(adapted.parameters(), lr=0.1)
    adapted(torch.ones(2, 4)).square().sum().backward()
    optimizer.step()


def another_trainer(module: LightningModule) -> None:
    def train() -> None:
        trainer = Trainer(**QUIET, max_steps=2)
        trainer.fit(Regression(nn.Linear(4, 1)), loader())

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()


def another_trainer_with_instruments(module: LightningModule) -> None:
    def train() -> None:
        trainer = Trainer(**QUIET, max_steps=2, callbacks=instruments())
        trainer.fit(Regression(tanh_net()), loader())

    state = torch.random.get_rng_state()
    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    torch.random.set_rng_state(state)


@pytest.mark.parametrize(
    "inner", [own_leaf, own_copy, another_trainer, another_trainer_with_instruments]
)
def test_the_step_of_another_optimizer_ends_nothing(
    inner: Callable[[Any], None],
) -> None:
    data = batches(8)
    options: dict[str, Any] = {
        "data": loader(rows=64),
        "max_steps": -1,
        "max_epochs": 1,
    }
    records = measure(lambda: WithInner(tanh_net(), 4, inner), **options)
    reference = Reference(initial(tanh_net))
    assert sorted(records) == [0, 4]
    for step in (0, 4):
        assert_same(records[step], reference.step(data[step : step + 4]))


def test_an_optimizer_of_parameters_that_are_not_chosen_ends_the_step() -> None:
    """Each network of two that train in turn has a step of its own."""

    class InTurn(ByHand):
        def __init__(self) -> None:
            super().__init__(nn.ModuleList([tanh_net(), tanh_net()]))

        def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
            which = batch_idx % 2
            self.manual_backward(squared_error(self.net[which], batch))  # type: ignore[index]
            optimizer: Any = self.optimizers()[which]  # type: ignore[index]
            optimizer.step()
            optimizer.zero_grad()

        def configure_optimizers(self) -> Any:
            return [SGD(net.parameters(), lr=LEARNING_RATE) for net in self.net]  # type: ignore[union-attr]

    records = measure(InTurn, max_steps=-1, max_epochs=1)
    assert sorted(records) == [0, 1, 2, 3, 4]
    for step, record in records.items():
        names = [
            tag
            for tag in record
            if tag.startswith(("update_ratio/", "activation_mean/"))
        ]
        assert len(names) == 5
        assert all(f"net.{step % 2}." in name for name in names)


# 6. Layers and parameters that are replaced.


class LoRA(nn.Module):
    """A frozen layer and a trained correction of low rank."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Linear(layer.in_features, 2, bias=False)
        self.up = nn.Linear(2, layer.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.up(self.down(x))


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def new_layer(module: "Changes") -> None:
    module.net[2] = LoRA(module.net[2])


def new_head(module: "Changes") -> None:
    module.net[4] = nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 1))


def new_parameter(module: "Changes") -> None:
    module.net[2].weight = nn.Parameter(torch.randn(8, 8))


def new_parametrization(module: "Changes") -> None:
    parametrize.register_parametrization(module.net[2], "weight", Doubled())


CHANGES: dict[str, tuple[Callable[[Any], None], set[str], set[str]]] = {
    "LoRA": (
        new_layer,
        {
            "weight_std/net.2.down.weight",
            "update_ratio/net.2.up.weight",
            "activation_mean/net.2",
        },
        {"weight_std/net.2.weight", "update_ratio/net.2.weight"},
    ),
    "head": (
        new_head,
        {
            "update_ratio/net.4.0.weight",
            "activation_mean/net.4.1",
            "activation_grad_std/net.4.1",
        },
        {"update_ratio/net.4.weight", "weight_grad_std/net.4.weight"},
    ),
    "parameter": (
        new_parameter,
        {"update_ratio/net.2.weight", "weight_grad_std/net.2.weight"},
        set(),
    ),
    "parametrization": (
        new_parametrization,
        {
            "update_ratio/net.2.parametrizations.weight.original",
            "activation_mean/net.2",
        },
        {"update_ratio/net.2.weight"},
    ),
}
MOMENTS = [
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "training_step",
    "on_train_batch_end",
]


class Changes(Regression):
    """Replaces a part of itself at some moment of training; its optimizer follows."""

    def __init__(self, change: Callable[[Any], None], moment: str, step: int) -> None:
        super().__init__(tanh_net())
        self.change, self.moment, self.step = change, moment, step
        self.changed = False

    def _change(self, moment: str) -> None:
        if (
            moment == self.moment
            and self.trainer.global_step == self.step
            and not self.changed
        ):
            self.changed = True
            self.change(self)
            (optimizer,) = self.trainer.optimizers
            optimizer.param_groups[0]["params"] = list(self.parameters())
            optimizer.state.clear()

    def on_train_start(self) -> None:
        self._change("on_train_start")

    def on_train_epoch_start(self) -> None:
        self._change("on_train_epoch_start")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._change("on_train_batch_start")

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._change("on_train_batch_end")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self._change("training_step")
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", CHANGES)
def test_replaced_layers_and_parameters(name: str, moment: str) -> None:
    change, new, discarded = CHANGES[name]
    step = {"on_train_start": 0, "on_train_epoch_start": 5}.get(moment, 2)
    chosen = instruments(["Tanh", "net.2", "net.4*"])
    with runtime_warnings() as warned:
        records = measure(lambda: Changes(change, moment, step), chosen, max_steps=8)
    assert sorted(records) == list(range(8))
    # A change within a batch shows from the next one on.
    from_step = step + (moment in ("on_train_batch_start", "training_step"))
    for number, record in records.items():
        if number >= from_step:
            assert new <= record.keys(), number
            assert not discarded & record.keys(), number
        elif number < step:
            assert discarded <= record.keys(), number
    assert warned == []


@pytest.mark.parametrize("moment", ["on_train_batch_start", "training_step"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_replacement_within_a_due_batch_leaves_no_wrong_number(
    name: str, moment: str
) -> None:
    change, *_ = CHANGES[name]
    true: dict[str, float] = {}

    class Looks(Callback):
        """Runs after the instruments, and keeps what they measured of the batch in which the change happens."""

        def on_train_batch_end(
            self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any
        ) -> None:
            if trainer.global_step == 3:
                for key, param in pl_module.named_parameters():
                    if param.ndim >= 2 and param.grad is not None:
                        clean = key.replace(
                            ".parametrizations.weight.original", ".weight"
                        )
                        true[f"weight_grad_std/{clean}"] = (
                            param.grad.double().std().item()
                        )

    records = Records()
    fit(
        lambda: Changes(change, moment, 2),
        [*instruments(), records, Looks()],
        max_steps=4,
    )
    gradients = {
        tag: value
        for tag, value in records.steps[2].items()
        if tag.startswith("weight_grad_std/")
    }
    for tag, value in gradients.items():
        assert value == pytest.approx(true[tag], rel=1e-5), tag


# 7. Several steps in a batch.


class Critic(ByHand):
    """Steps its optimizer five times a batch."""

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
        for _ in range(5):
            Regression.training_step(self, batch, batch_idx)
            self.manual_backward(Regression.training_step(self, batch, batch_idx))
            self.move()


def test_five_steps_in_a_batch() -> None:
    """Gradients and updates belong to one and the same step, and a warning says so."""
    with runtime_warnings() as warned:
        records = measure(lambda: Critic(tanh_net()), max_steps=-1, max_epochs=1)
    reference = Reference(initial(tanh_net))
    assert sorted(records) == [0, 1, 2, 3, 4]
    for step, batch in enumerate(batches(5)):
        expected = next(iter([reference.step([batch]) for _ in range(5)]))
        assert_same(
            records[step],
            {tag: x for tag, x in expected.items() if not tag.startswith("activation")},
        )
    assert sum("more than once" in message for message in warned) == 1
    assert len(warned) == 1


class Shared(ByHand):
    """Actor and critic, each with an optimizer of its own, and an encoder that both of them train."""

    def __init__(self) -> None:
        super().__init__(
            nn.ModuleDict(
                {
                    "encoder": nn.Linear(4, 8),
                    "actor": nn.Linear(8, 1),
                    "critic": nn.Linear(8, 1),
                }
            )
        )
        self.expected: list[dict[str, float]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
        before = {
            name: param.detach().double().clone()
            for name, param in self.named_parameters()
            if param.ndim == 2
        }
        expected: dict[str, float] = {}
        for head, optimizer in zip(("actor", "critic"), self.optimizers(), strict=True):  # type: ignore[call-overload]
            optimizer.zero_grad()
            x, y = batch
            loss = (
                (self.net[head](torch.tanh(self.net["encoder"](x))) - y).square().mean()
            )  # type: ignore[index]
            self.manual_backward(loss)
            optimizer.step()
            for name in ("net.encoder.weight", f"net.{head}.weight"):
                if (
                    f"update_ratio/{name}" not in expected
                ):  # of a parameter that moves twice, the first time
                    param = self.get_parameter(name)
                    after = param.detach().double()
                    expected[f"weight_grad_std/{name}"] = (
                        param.grad.double().std().item()
                    )  # type: ignore[union-attr]
                    ratio = (after - before[name]).std() / after.std()
                    expected[f"update_ratio/{name}"] = math.log10(ratio.item())
        self.expected.append(expected)

    def configure_optimizers(self) -> Any:
        def params(head: str) -> list[nn.Parameter]:
            return [*self.net["encoder"].parameters(), *self.net[head].parameters()]  # type: ignore[index]

        return [SGD(params("actor"), lr=0.1), Adam(params("critic"), lr=0.01)]


def test_two_optimizers_that_share_a_parameter() -> None:
    kept: list[Shared] = []
    records = measure(
        lambda: kept.append(Shared()) or kept[0], max_steps=-1, max_epochs=1
    )  # type: ignore[func-returns-value]
    for step, expected in enumerate(kept[0].expected):
        assert len(expected) == 6
        assert_same(records[step], expected)


# 10. Why a parameter did not move.


class EverySecond:
    """Mixin of an optimizer that moves every second time it is asked to."""

    asked = 0

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        self.asked += 1
        if self.asked % 2 == 0:
            return super().step(closure)  # type: ignore[misc]
        return None if closure is None else closure()


class SecondSGD(EverySecond, SGD): ...


class SecondAdam(EverySecond, AdamW): ...


class SecondOwn(Optimizer):
    """Optimizer of somebody else's, that moves every second time."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 1e-4})
        self.asked = 0

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None if closure is None else closure()
        self.asked += 1
        if self.asked % 2 == 0:
            with torch.no_grad():
                for param in self.param_groups[0]["params"]:
                    param -= self.param_groups[0]["lr"] * param.grad
        return loss


class Flips(Regression):
    """Its gradient changes sign from step to step, without a change in size."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        sign = (-1) ** self.trainer.global_step
        return sign * sum(param.sum() for param in self.net.parameters())  # type: ignore[return-value]


class Clips(Regression):
    """Clips gradients as it likes."""

    def __init__(
        self, net: nn.Module, optimizer: Any, clip: Callable[[Tensor], Tensor | None]
    ) -> None:
        super().__init__(net, optimizer)
        self.clip = clip

    def configure_gradient_clipping(
        self, optimizer: Optimizer, *_: Any, **__: Any
    ) -> None:
        for param in self.net.parameters():
            if param.grad is not None:
                param.grad = self.clip(param.grad)


class ZeroGradient(ByHand):
    """Zero gradients, which are cleared after the step."""

    def __init__(
        self, net: nn.Module, optimizer: Any, to_none: bool, factor: float = 0.0
    ) -> None:
        super().__init__(net)
        self.make_optimizer, self.to_none, self.factor = optimizer, to_none, factor

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
        self.manual_backward(
            Regression.training_step(self, batch, batch_idx) * self.factor
        )
        optimizer: Any = self.optimizers()
        optimizer.step()
        optimizer.zero_grad(set_to_none=self.to_none)


def with_lr(lr: Any, kind: Any = SGD, **options: Any) -> Callable[[Any], Optimizer]:
    return lambda params: kind(params, lr=lr, **options)


UNMOVED: dict[str, tuple[Callable[[], LightningModule], dict[str, Any], set[str]]] = {
    "lr=0": (lambda: Regression(tanh_net(), with_lr(0)), {}, {"learning rate zero"}),
    "lr=0.0": (
        lambda: Regression(tanh_net(), with_lr(0.0)),
        {},
        {"learning rate zero"},
    ),
    "lr=-0.0": (
        lambda: Regression(tanh_net(), with_lr(-0.0)),
        {},
        {"learning rate zero"},
    ),
    "lr=tensor(0.)": (
        lambda: Regression(tanh_net(), with_lr(torch.tensor(0.0))),
        {},
        {"learning rate zero"},
    ),
    "Adam, lr=0": (
        lambda: Regression(tanh_net(), with_lr(0, Adam)),
        {},
        {"learning rate zero"},
    ),
    "AdamW, lr=tensor(0.)": (
        lambda: Regression(
            tanh_net(),
            with_lr(torch.tensor(0.0), AdamW, capturable=False, foreach=False),
        ),
        {},
        {"learning rate zero"},
    ),
    "fused Adam, lr=0": (
        lambda: Regression(tanh_net(), with_lr(0.0, Adam, fused=True)),
        {},
        {"learning rate zero"},
    ),
    "ASGD, lr=0": (
        lambda: Regression(tanh_net(), with_lr(0.0, ASGD)),
        {},
        {"learning rate zero"},
    ),
    "lr=0 in bf16": (
        lambda: Regression(tanh_net(), with_lr(0)),
        {"precision": "bf16-true"},
        {"learning rate zero"},
    ),
    "clipped to zero": (
        lambda: Clips(tanh_net(), with_lr(0.1), torch.zeros_like),
        {},
        {"zero gradient"},
    ),
    "clipped to zero, Adam": (
        lambda: Clips(tanh_net(), with_lr(0.1, Adam), torch.zeros_like),
        {},
        {"zero gradient"},
    ),
    "clipped to none": (
        lambda: Clips(tanh_net(), with_lr(0.1), lambda _: None),
        {},
        {"no gradient"},
    ),
    "clipped to none in bf16": (
        lambda: Clips(tanh_net(), with_lr(1e-9), lambda _: None),
        {"precision": "bf16-true"},
        {"no gradient"},
    ),
    "clipped to zero in bf16": (
        lambda: Clips(tanh_net(), with_lr(1e-9), torch.zeros_like),
        {"precision": "bf16-true"},
        {"zero gradient"},
    ),
    "zero gradient, kept": (
        lambda: ZeroGradient(tanh_net(), with_lr(0.1), False),
        {},
        {"zero gradient"},
    ),
    "zero gradient, to none": (
        lambda: ZeroGradient(tanh_net(), with_lr(0.1), True),
        {},
        {"zero gradient"},
    ),
    "zero gradient in bf16": (
        lambda: ZeroGradient(tanh_net(), with_lr(1e-9), True),
        {"precision": "bf16-true"},
        {"zero gradient"},
    ),
    "zero gradient, Rprop": (
        lambda: ZeroGradient(tanh_net(), with_lr(0.1, Rprop), True),
        {},
        {"zero gradient"},
    ),
    "zero gradient, ASGD": (
        lambda: ZeroGradient(tanh_net(), with_lr(0.1, ASGD, lambd=0.0), True),
        {},
        {"zero gradient"},
    ),
    "every second time, SGD": (
        lambda: Regression(tanh_net(), with_lr(0.1, SecondSGD)),
        {},
        {"did not move"},
    ),
    "every second time, Adam": (
        lambda: Regression(tanh_net(), with_lr(0.1, SecondAdam)),
        {},
        {"did not move"},
    ),
    "every second time, own": (
        lambda: Regression(tanh_net(), SecondOwn),
        {},
        {"did not move"},
    ),
    "every second time, SGD in bf16": (
        lambda: Regression(tanh_net(), with_lr(1e-3, SecondSGD)),
        {"precision": "bf16-true"},
        {"did not move"},
    ),
    "every second time, Adam in bf16": (
        lambda: Regression(tanh_net(), with_lr(1e-4, SecondAdam)),
        {"precision": "bf16-true"},
        {"did not move"},
    ),
    "SGD in bf16": (
        lambda: Regression(tanh_net(), with_lr(1e-9)),
        {"precision": "bf16-true"},
        {"rounded to zero"},
    ),
    "Adam in bf16": (
        lambda: Regression(tanh_net(), with_lr(1e-9, Adam)),
        {"precision": "bf16-true"},
        {"rounded to zero"},
    ),
    "AdamW in bf16": (
        lambda: Regression(tanh_net(), with_lr(1e-8, AdamW)),
        {"precision": "bf16-true"},
        {"rounded to zero"},
    ),
    "SGD with momentum in bf16": (
        lambda: Regression(tanh_net(), with_lr(1e-9, momentum=0.9)),
        {"precision": "bf16-true"},
        {"rounded to zero"},
    ),
    "SGD in fp16": (
        lambda: Regression(tanh_net(), with_lr(1e-9)),
        {"precision": "16-true"},
        {"rounded to zero"},
    ),
    "Adam in fp16": (
        lambda: Regression(tanh_net(), with_lr(1e-7, Adam, eps=1e-4)),
        {"precision": "16-true"},
        {"rounded to zero"},
    ),
    "SGD in fp32": (
        lambda: Regression(tanh_net(), with_lr(1e-13)),
        {},
        {"rounded to zero"},
    ),
    "rounded, gradients cleared": (
        lambda: ZeroGradient(tanh_net(), with_lr(1e-9), False, 1.0),
        {"precision": "bf16-true"},
        {"rounded to zero"},
    ),
    "rounded, Adam, gradients cleared": (
        lambda: ZeroGradient(tanh_net(), with_lr(1e-9, Adam), False, 1.0),
        {"precision": "bf16-true"},
        {"rounded to zero"},
    ),
    "rounded, lr=tensor": (
        lambda: Regression(tanh_net(), with_lr(torch.tensor(1e-9))),
        {"precision": "bf16-true"},
        {"rounded to zero"},
    ),
}


def reasons_by_step(
    make: Callable[[], LightningModule], **options: Any
) -> tuple[list[set[str]], list[str]]:
    """Returns what UpdateRatio says of the parameters that did not move, and what it warns of."""
    updates = UpdateRatio(every_n_steps=1, figures=False)
    reasons: list[set[str]] = []

    class Keeps(Callback):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            reasons.append(set(updates.unmoved.values()))

    with runtime_warnings() as warned:
        fit(make, [updates, Keeps()], **options)
    return reasons, warned


@pytest.mark.parametrize("name", UNMOVED)
def test_why_a_parameter_did_not_move(name: str) -> None:
    make, options, expected = UNMOVED[name]
    reasons, warned = reasons_by_step(make, max_steps=3, **options)
    skips = name.startswith("every second")
    for step, reason in enumerate(reasons):
        if name.startswith("clipped to none"):
            assert reason in (expected, {"did not move"})
        else:
            assert reason == (set() if skips and step % 2 else expected)
    if expected == {"rounded to zero"}:
        assert len(warned) == 1
        assert "round" in warned[0]
    else:
        assert not any("round" in message for message in warned)


def test_rprop_that_waits_for_a_sign() -> None:
    """After a change of sign Rprop takes no step, with gradients and a learning rate of a good size."""
    reasons, warned = reasons_by_step(
        lambda: Flips(tanh_net(), with_lr(0.01, Rprop)), max_steps=4
    )
    assert {"did not move"} in reasons
    assert not any("rounded to zero" in reason for reason in reasons)
    assert not any("round" in message for message in warned)


def test_asgd_whose_rate_is_nearly_used_up() -> None:
    """ASGD divides its rate by a power of the steps; no rate of its group tells the size of an update."""
    reasons, _ = reasons_by_step(
        lambda: Regression(tanh_net(), with_lr(0.1, ASGD, lambd=1.0, alpha=300.0)),
        max_steps=5,
    )
    assert all(reason <= {"did not move"} for reason in reasons)
    assert {"did not move"} in reasons


@pytest.mark.parametrize("fused", [False, True])
def test_a_skipped_step_beside_rounding(fused: bool) -> None:
    """A step that the scaler skips is no rounding, also in a type that would round it."""

    class Overflows(Regression):
        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            return loss * float("inf") if self.trainer.global_step == 1 else loss

    scaler = MixedPrecision(
        "16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0)
    )
    reasons, warned = reasons_by_step(
        lambda: Overflows(tanh_net(), with_lr(0.01, Adam, fused=fused)),
        max_steps=3,
        plugins=[scaler],
    )
    assert reasons == [set(), {"skipped by the gradient scaler"}, set()]
    assert warned == []


# 14. Tensors that are hard to measure.


class Complex(nn.Module):
    """A complex parameter and, of its output, lazily conjugated and lazily negated parts."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.tanh = nn.Linear(4, 4), nn.Tanh()
        self.spectrum = nn.Parameter(torch.randn(4, 4, dtype=torch.complex64))
        self.part = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.tanh(self.layer(x)).to(torch.complex64) @ self.spectrum.conj()
        imaginary = self.part(h.conj().imag)
        assert imaginary.is_neg()
        return imaginary + h.real


def test_a_lazily_conjugated_gradient() -> None:
    norms: list[float] = []

    class Conjugates(Regression):
        def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
            squares = [
                param.grad.to(torch.complex128).abs().square().sum().item()
                for param in self.parameters()
            ]
            norms.append(math.sqrt(sum(squares)))

        def on_after_backward(self) -> None:
            gradient = self.net.spectrum.grad  # type: ignore[union-attr]
            self.net.spectrum.grad = gradient.conj().resolve_conj().conj()  # type: ignore[union-attr]
            assert self.net.spectrum.grad.is_conj()  # type: ignore[union-attr]

    with runtime_warnings() as warned:
        records = measure(lambda: Conjugates(Complex()), instruments(["*"]))
    assert [record["grad_norm/total"] for record in records.values()] == pytest.approx(
        norms, rel=1e-5
    )
    for record in records.values():
        assert {
            "activation_mean/net.part",
            "activation_grad_std/net.part",
            "weight_grad_std/net.layer.weight",
        } <= set(record)
    assert warned == []


def test_a_lazily_negated_output() -> None:
    record = measure(
        lambda: Regression(Complex()), instruments(["Identity"]), max_steps=1
    )[0]
    values = Outputs(initial(Complex), batches(1)[0][0]).of_layers["net.part"]
    assert record["activation_mean/net.part"] == pytest.approx(
        values.mean().item(), abs=1e-6
    )
    assert record["activation_std/net.part"] == pytest.approx(
        values.std().item(), rel=1e-5
    )


class Frozen(nn.Module):
    """A frozen encoder in eval mode with a padding mask, which makes nested tensors inside, and a trained head."""

    def __init__(self, masked: bool = True) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(
            layer, 2, enable_nested_tensor=masked
        ).requires_grad_(False)
        self.tanh, self.head = nn.Tanh(), nn.Linear(8, 1)
        self.masked = masked

    def forward(self, x: Tensor) -> Tensor:
        self.encoder.eval()
        mask = torch.zeros(x.shape[:2], dtype=torch.bool)
        mask[:, 3:] = True
        h = self.encoder(x, src_key_padding_mask=mask if self.masked else None)
        return self.head(self.tanh(h))


@pytest.mark.filterwarnings(
    "ignore:.*nested tensors:UserWarning", "ignore:Converting mask:UserWarning"
)
@pytest.mark.parametrize("layers", [None, ["*"], ["TransformerEncoderLayer"]], ids=str)
@pytest.mark.parametrize("masked", [True, False])
def test_a_frozen_encoder_with_padding(masked: bool, layers: list[str] | None) -> None:
    data = loader((6, 8))
    with runtime_warnings() as warned:
        records = Records()
        _, module = fit(
            lambda: Regression(Frozen(masked)),
            [*instruments(layers), records],
            data=data,
        )
    _, bare = fit(lambda: Regression(Frozen(masked)), data=data)
    for name, value in bare.state_dict().items():
        assert torch.equal(module.state_dict()[name], value), name
    if layers != ["TransformerEncoderLayer"]:
        assert all(
            "activation_mean/net.tanh" in record for record in records.steps.values()
        )
    assert all(
        "update_ratio/net.head.weight" in record for record in records.steps.values()
    )
    assert not any("failed" in message for message in warned)


class Fussy(Tensor):
    """Tensor that refuses to be copied or read by functions of Python, as tensors of other packages may."""

    REFUSED = frozenset(
        {"detach", "clone", "reshape", "flatten", "numpy", "cpu", "sum", "aminmax"}
    )

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__name__", "") in cls.REFUSED:
            raise NotImplementedError("this tensor cannot be read")
        return super().__torch_function__(func, types, args, kwargs or {})


class MoreFussy(Fussy):
    """Refuses also to be asked for its properties."""

    REFUSED = Fussy.REFUSED | {
        "is_floating_point",
        "numel",
        "register_hook",
        "__get__",
        "size",
        "dim",
    }


class Unreadable(Tensor):
    """Tensor without data: each of its operations raises in the dispatcher."""

    @staticmethod
    def __new__(cls, like: Tensor) -> "Unreadable":
        return Tensor._make_wrapper_subclass(cls, like.shape, dtype=like.dtype)  # type: ignore[attr-defined]

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise NotImplementedError("this tensor cannot be read")


class WithUnreadable(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, Unreadable(x)


class First(nn.Module):
    def forward(self, values: tuple[Tensor, ...]) -> Tensor:
        return values[0]


class Wraps(nn.Module):
    """Gives its input out as a subclass of Tensor."""

    def __init__(self, kind: type[Tensor]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        return x.as_subclass(self.kind)


class Unwraps(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.as_subclass(Tensor)


@pytest.mark.parametrize("kind", [Fussy, MoreFussy])
def test_a_tensor_that_cannot_be_measured_loses_only_its_series(
    kind: type[Tensor],
) -> None:
    def net(wrapped: bool) -> nn.Module:
        middle = [Wraps(kind), Unwraps()] if wrapped else [nn.Identity(), nn.Identity()]
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), *middle, nn.Linear(8, 1))

    chosen = ["Tanh", "net.2", "Linear"]
    with runtime_warnings() as warned:
        records = measure(lambda: Regression(net(True)), instruments(chosen))
    plain = measure(lambda: Regression(net(False)), instruments(chosen))
    assert sorted(records) == [0, 1, 2, 3, 4]
    for step in range(5):
        assert (
            {tag for tag in plain[step] if not tag.endswith("/net.2")}
            <= records[step].keys()
            <= plain[step].keys()
        )
        for tag, value in records[step].items():
            if isinstance(value, float):
                assert value == pytest.approx(plain[step][tag], rel=1e-6), tag
    lost = {tag for tag in plain[0] if tag not in records[0]}
    assert bool(lost) == bool(warned)
    assert all("net.2" in message for message in warned)


def test_a_statistic_that_raises_is_named_and_costs_nothing_else() -> None:
    def net(middle: list[nn.Module]) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), *middle, nn.Linear(8, 1))

    chosen = ["Tanh", "net.2", "Linear"]
    with runtime_warnings() as warned:
        records = measure(
            lambda: Regression(net([WithUnreadable(), First()])), instruments(chosen)
        )
    plain = measure(
        lambda: Regression(net([nn.Identity(), nn.Identity()])), instruments(chosen)
    )
    assert sorted(records) == [0, 1, 2, 3, 4]
    for step in range(5):
        assert {tag.replace("/net.2.0", "/net.2") for tag in records[step]} == plain[
            step
        ].keys()
        for tag, value in records[step].items():
            if isinstance(value, float):
                assert value == pytest.approx(
                    plain[step][tag.replace("/net.2.0", "/net.2")], rel=1e-6
                ), tag
    assert len(warned) <= 2
    assert all(
        "net.2.1" in message and "this tensor cannot be read" in message
        for message in warned
    )
    assert sum("histogram" in message for message in warned) == 1
    assert sum("saturation" in message for message in warned) == 1


# 15. Parametrized layers are leaves.


class LowRank(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = (
            nn.Parameter(torch.randn(4, 2)),
            nn.Parameter(torch.randn(2, 4)),
        )

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def low_rank(layer: nn.Linear) -> nn.Module:
    return parametrize.register_parametrization(layer, "weight", LowRank())


@pytest.mark.parametrize("how", [weight_norm, spectral_norm, orthogonal, low_rank])
def test_parametrized_layers_are_leaves(how: Callable[[nn.Module], nn.Module]) -> None:
    def make() -> LightningModule:
        return Regression(
            nn.Sequential(
                how(nn.Linear(4, 4)),
                nn.Linear(4, 4),
                how(nn.Linear(4, 4)),
                nn.Linear(4, 1),
            )
        )

    record = measure(make, max_steps=1)[0]
    layers = {tag.split("/")[1] for tag in record if tag.startswith("activation_mean/")}
    assert layers == {"net.0", "net.1", "net.2", "net.3"}


# 17. Standard deviations of values of one magnitude.


def values_of_one_magnitude() -> Iterator[tuple[str, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    for count in (65_536, 200_000, 1_000_000):
        for magnitude in (0.7, 1e-20, 3e7):
            signs = torch.randint(0, 2, (count,), generator=generator) * 2 - 1
            noise = torch.randn(count, generator=generator)
            yield f"{count} of +-{magnitude}", signs * magnitude
            yield (
                f"{count} of {magnitude} and 1e-3 noise",
                magnitude * (1 + 1e-3 * noise),
            )
            yield (
                f"{count} of {magnitude} and 1e-6 noise",
                magnitude * (1 + 1e-6 * noise),
            )


SPREADS = dict(values_of_one_magnitude())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("with_histogram", [False, True])
@pytest.mark.parametrize("on_device", [False, True], ids=["host", "device"])
@pytest.mark.parametrize("name", SPREADS)
def test_standard_deviations_of_one_magnitude(
    name: str, on_device: bool, with_histogram: bool, dtype: torch.dtype
) -> None:
    from contextlib import nullcontext

    from callbacks.measure.accumulate import Accumulator
    from callbacks.measure.placement import simulated_device
    from callbacks.measure.statistic import HistogramOf, MomentsOf, result_as

    values = SPREADS[name].to(dtype)
    with simulated_device() if on_device else nullcontext():
        accumulator: Accumulator[str] = Accumulator()
        accumulator.add(
            "values", HistogramOf() if with_histogram else MomentsOf(), values
        )
        moments = result_as(MomentsOf(), accumulator.results()["values"])
    double = values.double()
    assert moments.count == len(values)
    assert moments.std == pytest.approx(double.std().item(), rel=1e-6, abs=0.0)
    assert moments.mean == pytest.approx(
        double.mean().item(), rel=1e-6, abs=1e-6 * double.abs().max().item()
    )


# 19. Units of several widths.


class Widths(nn.Module):
    """Calls one ReLU at several widths, some of its units never alive."""

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        kernel: Any = (lambda i, o: nn.Conv2d(i, o, 1)) if shape else nn.Linear
        self.layers = nn.ModuleList(
            [kernel(4, 6), kernel(6, 10), kernel(10, 6), kernel(6, 3)]
        )
        self.head = kernel(3, 1)
        with torch.no_grad():
            self.layers[0].bias[:2] = -100  # type: ignore[index,operator]
            self.layers[1].bias[:5] = -100  # type: ignore[index,operator]
            self.layers[2].bias[1:3] = -100  # type: ignore[index,operator]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.relu(layer(x))
        return self.head(x)


@pytest.mark.parametrize("shape", [(), (5, 5)], ids=["vectors", "images"])
def test_dead_units_of_several_widths(shape: tuple[int, ...]) -> None:
    data = loader((4, *shape))
    record = measure(lambda: Regression(Widths(shape)), data=data, max_steps=1)[0]
    outputs: list[Tensor] = []
    net = initial(lambda: Widths(shape))
    net.relu.register_forward_hook(
        lambda _, __, output: outputs.append(output.detach())
    )  # type: ignore[union-attr]
    net(next(iter(data))[0])
    masks: dict[int, Tensor] = {}
    for output in outputs:
        units = output.movedim(1, -1).reshape(-1, output.shape[1])
        dead = (units <= 0).all(0)
        width = output.shape[1]
        masks[width] = masks[width] & dead if width in masks else dead
    expected = sum(int(mask.sum()) for mask in masks.values()) / sum(
        map(len, masks.values())
    )
    assert 0 < expected < 1
    assert record["dead_units/net.relu"] == pytest.approx(expected)
    joined = torch.cat([output.flatten() for output in outputs])
    assert record["saturation/net.relu"] == pytest.approx(
        (joined <= 0).double().mean().item()
    )


def test_a_live_unit_is_not_dead_in_the_map_of_images() -> None:
    """A unit that is alive at some pixel, if only at the last of one example, is not marked as dead.

    The map itself is of the pixel in the center.
    """
    plots: list[Any] = []

    class Keeps(SaturationMap):
        def plots(self, measurements: Any) -> Any:
            plots.append(super().plots(measurements))
            return plots[-1]

    class Images(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu, self.head = nn.ReLU(), nn.Conv2d(4, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = -x.abs()
            alive = torch.zeros_like(x)
            alive[:, 1, -1, -1] = (
                1000.0  # unit 1 is alive in the last pixel of each example
            )
            alive[0, 2, 0, 0] = 1000.0  # unit 2 in the first pixel of the first example
            return self.head(self.relu(x + alive))

    chosen = Keeps(every_n_steps=1, figures=True)
    measurements: list[Any] = []
    original = chosen.observe

    def observe(of: Any) -> Any:
        measurements.append(of)
        return original(of)

    chosen.observe = observe  # type: ignore[method-assign]
    fit(lambda: Regression(Images()), [chosen], data=loader((4, 6, 6)), max_steps=1)
    (plot,) = chosen.plots(measurements[0]).values()
    assert (plot.shades.shape, plot.places) == ((8, 4), (6, 6))
    assert (plot.shades == 255).all()
    assert plot.dead.tolist() == [True, False, False, True]


# 20. What is shown by default.


class Mixed(nn.Module):
    """Two activation modules, and functions everywhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)]
        )
        self.elu, self.elu2, self.head = nn.ELU(), nn.ELU(), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.elu(self.layers[0](x))
        h = F.gelu(self.layers[1](h))
        h = self.elu2(self.layers[2](h))
        return self.head(F.gelu(self.layers[3](h)))


def test_modules_and_functions_side_by_side() -> None:
    record = measure(lambda: Regression(Mixed()), max_steps=1)[0]
    net, x = initial(Mixed), batches(1)[0][0]
    with torch.no_grad():
        first = net.elu(net.layers[0](x))  # type: ignore[operator,index,union-attr]
        second = F.gelu(net.layers[1](first))  # type: ignore[operator,index]
        third = net.elu2(net.layers[2](second))  # type: ignore[operator,index,union-attr]
        fourth = F.gelu(net.layers[3](third))  # type: ignore[operator,index]
    expected: Record = {}
    for name, values in {
        "elu": first,
        "gelu": second,
        "elu2": third,
        "gelu_1": fourth,
    }.items():
        expected |= mean_and_std(f"activation_{{}}/net.{name}", [values])
    assert_same(
        {
            tag: x
            for tag, x in record.items()
            if tag.startswith(("activation_mean", "activation_std"))
        },
        expected,
    )


@pytest.mark.parametrize("function", [False, True], ids=["modules", "functions"])
@pytest.mark.parametrize("kind", ["LeakyReLU", "PReLU", "RReLU"])
def test_activations_that_never_saturate_have_one_notice_and_no_series(
    kind: str, function: bool
) -> None:
    class Calls(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(4, 8), nn.Linear(8, 1)
            self.slope = nn.Parameter(torch.ones(1) / 4)

        def forward(self, x: Tensor) -> Tensor:
            h = self.layer(x)
            calls = {
                "LeakyReLU": lambda: F.leaky_relu(h),
                "PReLU": lambda: F.prelu(h, self.slope),
            }
            return self.head(calls.get(kind, lambda: F.rrelu(h))())

    def make() -> nn.Module:
        return (
            Calls()
            if function
            else nn.Sequential(nn.Linear(4, 8), getattr(nn, kind)(), nn.Linear(8, 1))
        )

    with runtime_warnings() as warned:
        records = measure(
            lambda: Regression(make()), [SaturationMap(every_n_steps=1, figures=False)]
        )
    assert all(record == {} for record in records.values())
    (notice,) = warned
    assert kind in notice
    assert "layers=" in notice


def deep(functions: bool) -> nn.Module:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return x + 0.05 * F.relu(self.linear(x))

    if functions:
        return nn.Sequential(*(Layer() for _ in range(150)), nn.Linear(4, 1))
    pairs = [layer for _ in range(150) for layer in (nn.Linear(4, 4), nn.ReLU())]
    return nn.Sequential(*pairs, nn.Linear(4, 1))


@pytest.mark.parametrize("functions", [False, True], ids=["modules", "functions"])
def test_a_deep_network_is_bounded_by_default_and_says_so_once(functions: bool) -> None:
    """The bound is said for layers as well as for parameters, and the choice reaches the last layer."""
    with runtime_warnings() as warned:
        records = measure(lambda: Regression(deep(functions)), max_steps=3)
    for record in records.values():
        layers = {
            tag.split("/")[1] for tag in record if tag.startswith("activation_mean/")
        }
        params = {tag.split("/")[1] for tag in record if tag.startswith("weight_mean/")}
        assert 32 <= len(layers) <= 64
        assert 32 <= len(params) <= 64
        assert len(record) < 1100
        depths = {int(name.split(".")[1]) for name in layers}
        assert max(depths) >= (149 if functions else 299)
        assert min(depths) <= 1
    assert sum("layers" in message for message in warned) == 1
    assert sum("params" in message for message in warned) == 1
    assert len(warned) == 2


def test_a_deep_network_is_shown_whole_where_all_is_chosen() -> None:
    record = measure(
        lambda: Regression(deep(False)), instruments(["*"], ["*"]), max_steps=1
    )[0]
    assert len([tag for tag in record if tag.startswith("activation_mean/net.")]) == 301
    assert len([tag for tag in record if tag.startswith("weight_mean/")]) == 302


def test_frozen_parameters_are_written_once() -> None:
    def make() -> LightningModule:
        module = Regression(tanh_net())
        module.net[0].requires_grad_(False)  # type: ignore[index]
        return module

    records = measure(make)
    frozen = {
        step for step, record in records.items() if "weight_std/net.0.weight" in record
    }
    trained = {
        step for step, record in records.items() if "weight_std/net.2.weight" in record
    }
    assert frozen == {0}
    assert trained == {0, 1, 2, 3, 4}


def test_a_parameter_that_is_frozen_later_and_thawed_again() -> None:
    class Freezes(Regression):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            self.net[0].requires_grad_(self.trainer.global_step not in (2, 3, 4))  # type: ignore[index]

    records = measure(lambda: Freezes(tanh_net()), max_steps=8)
    written = [
        step for step, record in records.items() if "weight_std/net.0.weight" in record
    ]
    assert written == [0, 1, 2, 5, 6, 7]
