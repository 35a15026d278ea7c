"""Reference numbers: a plain PyTorch loop in float64 that keeps every intermediate value of the network."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle, islice
from typing import Any, NamedTuple

import torch
from fits import SEED, Configure, loader, sgd, squared_error
from lightning.pytorch import seed_everything
from torch import Tensor, fx, nn
from torch.utils.data import DataLoader

Batch = Sequence[Tensor]

MODULES = (nn.Tanh, nn.Sigmoid, nn.ReLU, nn.LeakyReLU, nn.GELU)
FUNCTIONS = ("tanh", "sigmoid", "relu", "leaky_relu", "gelu")
NO_MAP = ("LeakyReLU", "leaky_relu", "GELU", "gelu")
"""Activations without reference numbers of saturation: they never saturate, or the slope alone does not decide."""


class Value(NamedTuple):
    """Output of one call of an activation."""

    name: str
    kind: str
    output: Tensor
    slope: Tensor
    """Derivative of each output for its input."""


class KeepValues(fx.Interpreter):
    """Runs a network operation by operation, and keeps the outputs of its activations, modules and functions."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(fx.symbolic_trace(net))
        self.values: list[Value] = []
        self._calls: dict[str, int] = {}

    def run(self, *args: Any, **options: Any) -> Any:
        self._calls.clear()
        return super().run(*args, **options)

    def run_node(self, n: fx.Node) -> Any:
        output = super().run_node(n)
        if (called := self._activation(n)) is not None:
            inputs = self.fetch_args_kwargs_from_env(n)[0][0].detach().requires_grad_()
            (slope,) = torch.autograd.grad(self._call_again(n, inputs).sum(), inputs)
            if output.requires_grad:
                output.retain_grad()
            self.values.append(Value(*called, output, slope))
        return output

    def _activation(self, n: fx.Node) -> tuple[str, str] | None:
        """Returns the name and kind of the activation that a node calls; None of any other node."""
        if n.op == "call_module":
            module = self.fetch_attr(str(n.target))
            return (
                (f"net.{n.target}", type(module).__name__)
                if isinstance(module, MODULES)
                else None
            )
        function = (
            n.target if isinstance(n.target, str) else getattr(n.target, "__name__", "")
        )
        if n.op not in ("call_function", "call_method") or function not in FUNCTIONS:
            return None
        modules = [path for path, _ in n.meta.get("nn_module_stack", {}).values()]
        name = ".".join(
            ["net", *([modules[-1]] if modules and modules[-1] else []), function]
        )
        number = self._calls.get(name, 0)
        self._calls[name] = number + 1
        return (f"{name}_{number}" if number else name), function

    def _call_again(self, n: fx.Node, inputs: Tensor) -> Tensor:
        _, *more = self.fetch_args_kwargs_from_env(n)[0]
        keywords = self.fetch_args_kwargs_from_env(n)[1]
        return getattr(self, n.op)(n.target, (inputs, *more), keywords)


def measured_by_hand(
    net: nn.Module,
    batches: Iterable[Batch],
    step: Callable[[], Any],
    threshold: float = 0.99,
) -> dict[str, float]:
    """Trains a network for one step, and measures everything that the instruments write as numbers.

    Args:
        net: Network in float64, `net` in the names of tags.
        batches: Micro-batches of the step, each of inputs and targets.
        step: Moves the parameters, once their gradients are complete.
        threshold: Output of tanh beyond which it counts as saturated.
    """
    batches = list(batches)
    traced = KeepValues(net)
    net.zero_grad()
    for x, y in batches:
        prediction = traced.run(x.double())
        (squared_error(prediction, y.double()) / len(batches)).backward()
    record = _of_activations(traced.values, 1 - threshold**2)
    params = dict(net.named_parameters(prefix="net"))
    matrices = {name: param for name, param in params.items() if param.ndim >= 2}
    gradients = {
        name: param.grad.clone()
        for name, param in params.items()
        if param.grad is not None
    }
    for name, param in matrices.items():
        record |= _spread("weight", name, param)
        if name in gradients:
            record |= _spread("weight_grad", name, gradients[name])
            record[f"grad_data_ratio/{name}"] = (
                gradients[name].std() / param.std()
            ).item()
    record["grad_norm/total"] = norm_of(net.parameters())
    before = {name: param.detach().clone() for name, param in matrices.items()}
    step()
    for name, param in matrices.items():
        change = (param.detach() - before[name]).std().item()
        if change:
            record[f"update_ratio/{name}"] = math.log10(change / param.std().item())
    return record


def steps_by_hand(
    make: Callable[[], nn.Module],
    steps: int,
    *,
    micro_batches: int = 1,
    optimizer: Configure = sgd,
    clip: Callable[[list[nn.Parameter]], Any] = lambda _: None,
    data: DataLoader[Any] | None = None,
    threshold: float = 0.99,
    automatic: bool = True,
) -> list[dict[str, float]]:
    """Returns the reference numbers of each step of a fit of `Regression(make())`, from the seed of all fits.

    Those of clipping are there in automatic optimization alone.
    """
    seed_everything(SEED, verbose=False)
    net = make().double()
    params = [param for param in net.parameters() if param.requires_grad]
    moves = optimizer(params)

    norms: list[tuple[float, float]] = []

    def step() -> None:
        before = norm_of(params)
        clip(params)
        norms.append((before, norm_of(params)))
        moves.step()

    batches = cycle(list(loader() if data is None else data))
    records = [
        measured_by_hand(net, islice(batches, micro_batches), step, threshold)
        for _ in range(steps)
    ]
    if automatic:
        for number, record in enumerate(records):
            active = [before != after for before, after in norms[: number + 1]]
            record["grad_norm/clipped"] = norms[number][1]
            record["grad_norm/clip_active"] = sum(active) / len(active)
    return records


def norm_of(params: Iterable[Tensor]) -> float:
    """Returns the L2 norm of all gradients."""
    gradients = [param.grad.flatten() for param in params if param.grad is not None]
    return torch.cat(gradients).double().norm().item()


def _of_activations(values: Sequence[Value], slope: float) -> dict[str, float]:
    calls: dict[str, list[Value]] = {}
    for value in values:
        calls.setdefault(value.name, []).append(value)
    record: dict[str, float] = {}
    for name, pooled in calls.items():
        outputs = torch.cat([value.output for value in pooled])
        record |= _spread("activation", name, outputs)
        gradients = [
            value.output.grad for value in pooled if value.output.grad is not None
        ]
        if gradients:
            record |= _spread("activation_grad", name, torch.cat(gradients))
        if pooled[0].kind not in NO_MAP:
            flat = torch.cat([value.slope.abs() < slope for value in pooled])
            units = flat.movedim(1 if flat.ndim > 3 else -1, 0).flatten(1)
            record[f"saturation/{name}"] = flat.double().mean().item()
            record[f"dead_units/{name}"] = units.all(1).double().mean().item()
    return record


def _spread(plot: str, name: str, values: Tensor) -> dict[str, float]:
    return {
        f"{plot}_mean/{name}": values.mean().item(),
        f"{plot}_std/{name}": values.std().item(),
    }
