"""Which modules are activations, and where each of them is flat: lets (almost) no gradient through.

The measure is tanh's: at an output of `threshold` its slope is `1 - threshold**2`; another activation is saturated
wherever its own slope is below that. Mostly the output tells (`FlatOutput`); where two inputs of different slope have
one output, as in GELU, it is the input that has to be looked at (`FlatInput`).
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ._statistics import widened

Test = Callable[[Tensor], Tensor]
"""Values in, a mask of the same shape out."""


@dataclass(frozen=True)
class FlatOutput:
    """Saturated where this holds of the output."""

    test: Test


@dataclass(frozen=True)
class FlatInput:
    """Saturated where this holds of the input."""

    test: Test


Flat = FlatOutput | FlatInput


def flat_ends(module: nn.Module, threshold: float) -> Flat:
    """Returns where a module is saturated; one that is no activation is judged like tanh.

    Args:
        module: Any module.
        threshold: The output, in (0, 1), beyond which tanh counts as saturated.
    """
    kind = activation_kind(module) or "Tanh"
    slope = 1 - threshold**2
    if kind in CURVES:
        cut = lower_cut(CURVES[kind], slope)
        return FlatInput(lambda x: widened(x) <= cut)
    test = OUTPUTS[kind](module, threshold, slope)
    # Limits of its own a module rounds to the type of its values, as this comparison does; ours are not to be rounded.
    return FlatOutput(test if kind in ("Hardtanh", "Threshold") else lambda h: test(widened(h)))


def is_activation(module: nn.Module) -> bool:
    """Tells whether a module is an elementwise nonlinearity, of torch.nn or known by its class name."""
    return activation_kind(module) is not None


def activation_kind(module: nn.Module) -> str | None:
    """Returns the torch.nn name of the activation that a module is, None if it is none."""
    for base in type(module).__mro__:
        if base.__module__.startswith("torch.nn.") and (base.__name__ in OUTPUTS or base.__name__ in CURVES):
            return base.__name__
    if any(True for _ in module.children()) or any(True for _ in module.parameters()):
        return None
    return next((kind for kind, name in FOREIGN.items() if name.fullmatch(type(module).__name__.lower())), None)


FOREIGN = {
    "GELU": re.compile(r"(new|fast|quick|accurate|clipped|pytorch)?gelu(activation|tanh)?"),
    "SiLU": re.compile(r"(silu|swish)(activation)?"),
    "Mish": re.compile(r"mish(activation)?"),
    "ReLU": re.compile(r"relu(squared|2)?(activation)?"),
    "Tanh": re.compile(r"tanh(activation)?"),
    "Sigmoid": re.compile(r"sigmoid(activation)?"),
}
"""Modules of other packages (transformers, timm, ...) that are, under these names, an activation of torch.nn."""


def lower_cut(curve: Callable[[Tensor], Tensor], slope: float) -> float:
    """Returns the input up to which a curve, flat at minus infinity, is nowhere as steep as `slope`.

    Args:
        curve: Maps `(n,)` inputs, float64, to outputs.
        slope: Positive.
    """
    grid = torch.linspace(-50, 0, 50_001, dtype=torch.float64)
    with torch.enable_grad():
        inputs = grid.clone().requires_grad_()
        (slopes,) = torch.autograd.grad(curve(inputs).sum(), inputs)
    steep = (slopes.abs() >= slope).nonzero()
    return float(grid[max(int(steep[0]) - 1, 0)]) if len(steep) else 0.0


CURVES: dict[str, Callable[[Tensor], Tensor]] = {
    "GELU": nn.functional.gelu,
    "SiLU": nn.functional.silu,
    "Mish": nn.functional.mish,
    "Hardswish": nn.functional.hardswish,
}
"""Activations that fall before they rise: an output just below zero tells nothing of the slope."""


def _never(_module: nn.Module, _threshold: float, _slope: float) -> Test:
    return lambda h: torch.zeros_like(h, dtype=torch.bool)


def _zeros(_module: nn.Module, _threshold: float, _slope: float) -> Test:
    return lambda h: h == 0


OUTPUTS: dict[str, Callable[..., Test]] = {
    "Tanh": lambda _, threshold, __: lambda h: h.abs() > threshold,
    # Its slope s (1 - s) is a quarter in the middle.
    "Sigmoid": lambda _, __, slope: lambda s: s * (1 - s) < slope,
    "Softsign": lambda _, __, slope: lambda h: (1 - h.abs()).square() < slope,
    "ReLU": lambda *_: lambda h: h <= 0,
    "Hardtanh": lambda module, *_: lambda h: (h <= module.min_val) | (h >= module.max_val),  # ReLU6 is one
    "Hardsigmoid": lambda *_: lambda h: (h <= 0) | (h >= 1),
    "Threshold": lambda module, *_: lambda h: h == module.value,
    # The slope is tanh(x)**2: flat around zero, up to the output that belongs to that input.
    "Tanhshrink": lambda _, __, slope: lambda h: h.abs() < math.atanh(math.sqrt(slope)) - math.sqrt(slope),
    "Hardshrink": _zeros,
    "Softshrink": _zeros,
    "LeakyReLU": _never,
    "PReLU": _never,
    "RReLU": _never,
    # Below zero the slope is the output, moved to begin at 0.
    "ELU": lambda module, _, slope: lambda h: (h < 0) & (h + module.alpha < slope),
    "CELU": lambda module, _, slope: lambda h: (h < 0) & (h / module.alpha + 1 < slope),
    "SELU": lambda _, __, slope: lambda h: (h < 0) & (h + SELU_FLOOR < slope),
    # The slope is 1 - exp(-beta h), and exp(h) for the logarithm of a sigmoid.
    "Softplus": lambda module, _, slope: lambda h: -torch.expm1(-module.beta * h) < slope,
    "LogSigmoid": lambda _, __, slope: lambda h: -torch.expm1(h) < slope,
}
"""From module, threshold and slope to what holds of the outputs where it is flat."""

SELU_FLOOR = 1.0507009873554805 * 1.6732632423543772
"""Where SELU ends far below zero: scale times alpha, as torch.nn has them."""
