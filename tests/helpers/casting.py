"""Counts of what PyTorch's casts to narrower formats make of values, and the numbers of a plain loop."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle, islice
from typing import Any, NamedTuple

import numpy as np
import torch
from fits import SEED, Configure, loader, sgd, squared_error
from lightning.pytorch import seed_everything
from torch import Tensor, nn

DTYPES = {
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "e4m3": torch.float8_e4m3fn,
    "e5m2": torch.float8_e5m2,
}


class Counts(NamedTuple):
    """Numbers of finite values by the results of a cast."""

    zero: int
    underflow: int
    subnormal: int
    overflow: int


def finite(values: Tensor) -> Tensor:
    """Returns the finite values, flat."""
    values = values.detach().resolve_neg().flatten()
    return values[values.double().isfinite()]


def counts_by_casting(values: Tensor, name: str) -> Counts:
    """Returns the counts of a format."""
    values = finite(values)
    results = values.to(DTYPES[name]).double()
    smallest = torch.finfo(DTYPES[name]).smallest_normal
    return Counts(
        zero=int((results == 0).sum()),
        underflow=int(((results == 0) & (values.double() != 0)).sum()),
        subnormal=int(((results != 0) & (results.abs() < smallest)).sum()),
        overflow=int(is_out_of_range(values, name, results).sum()),
    )


def is_out_of_range(values: Tensor, name: str, results: Tensor) -> Tensor:
    """Returns the mask of values beyond the largest number of a format.

    PyTorch casts those to infinity; of e4m3, which has none, older versions to NaN and newer ones to the largest
    number. So its values are rounded as if it had more octaves, by NumPy in float64, and compared with that number.
    """
    if name != "e4m3":
        return results.isinf()
    rounded_first = values.float().double().abs().numpy()
    _, exponent = np.frexp(rounded_first)
    step = np.ldexp(1.0, exponent - 4)  # a mantissa of 1 + 3 bits
    return torch.from_numpy(np.rint(rounded_first / step) * step > 448)


def fractions_by_casting(tensors: dict[str, Tensor]) -> dict[str, float]:
    """Returns the numbers that NumberRange writes of tensors, by their part of the tags."""
    record: dict[str, float] = {}
    for tensor, values in tensors.items():
        for name in DTYPES:
            for kind, count in counts_by_casting(values, name)._asdict().items():
                tag = f"{name}_{kind}/{tensor}"
                record[tag] = count / len(finite(values))
    return record


def ranges_by_hand(
    make: Callable[[], nn.Sequential],
    steps: int,
    *,
    micro_batches: int = 1,
    optimizer: Configure = sgd,
    dtype: torch.dtype = torch.float32,
    autocast: torch.dtype | None = None,
    clip: Callable[[list[nn.Parameter]], Any] = lambda _: None,
) -> list[dict[str, float]]:
    """Returns the numbers of each step of a fit of `Regression(make())`, from the seed of all fits.

    The same operations on the same values as those of the fit, so that the numbers are equal, to the last bit.
    """
    seed_everything(SEED, verbose=False)
    net = make().to(dtype)
    params = list(net.parameters())
    moves = optimizer(params)
    batches = cycle(list(loader()))
    records: list[dict[str, float]] = []
    for _ in range(steps):
        moves.zero_grad()
        chosen = [
            [part.to(dtype) for part in batch]
            for batch in islice(batches, micro_batches)
        ]
        tensors = _backward(net, chosen, autocast)
        matrices = {
            f"net.{name}": param
            for name, param in net.named_parameters()
            if param.ndim > 1
        }
        for name, param in matrices.items():
            tensors[f"weight/{name}"] = param.detach().clone()
            assert param.grad is not None
            tensors[f"weight_grad/{name}"] = param.grad.clone()
        clip(params)
        moves.step()
        for name, param in matrices.items():
            wide = torch.promote_types(dtype, torch.float32)
            before = tensors[f"weight/{name}"].to(wide)
            tensors[f"update/{name}"] = param.detach().to(wide) - before
        records.append(fractions_by_casting(tensors))
    return records


def _backward(
    net: nn.Sequential, batches: Sequence[Any], autocast: torch.dtype | None
) -> dict[str, Tensor]:
    """Adds up gradients over micro-batches; returns the outputs of tanh layers and their gradients."""
    outputs: dict[str, list[Tensor]] = {}
    for x, y in batches:
        context = (
            torch.autocast("cpu", autocast) if autocast else contextlib.nullcontext()
        )
        with context:
            for place, layer in enumerate(net):
                x = layer(x)
                if isinstance(layer, nn.Tanh):
                    x.retain_grad()
                    outputs.setdefault(f"net.{place}", []).append(x)
            loss = squared_error(x, y)
        (loss / len(batches)).backward()
    tensors = {f"activation/{name}": _joined(each) for name, each in outputs.items()}
    for name, each in outputs.items():
        gradients = [output.grad for output in each if output.grad is not None]
        tensors[f"activation_grad/{name}"] = _joined(gradients)
    return tensors


def _joined(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.detach() for tensor in tensors])


def wide_net() -> nn.Sequential:
    """Returns a network with values too large and too small for 8 and 16 bits."""
    net = nn.Sequential(
        nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)
    )
    with torch.no_grad():
        for place, size in ((0, 1e-4), (2, 3e4), (4, 1e-6)):
            layer: Any = net[place]
            layer.weight *= size * torch.logspace(-2, 2, layer.weight.shape[1])
    return net
