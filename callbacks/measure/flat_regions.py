"""Flat regions: the outputs or inputs at which an activation lets (almost) no gradient through.

The measure is tanh's: at an output of `threshold` its slope is `1 - threshold**2`, and another activation is saturated
wherever its own slope is below that. Mostly the output tells; where two inputs of different slope have one output, as
in GELU, the input has to be tested.
"""

import math
from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor, nn

from .activations import Activation
from .pieces import widened
from .saturation import FlatRegion, Test

NEVER = ("LeakyReLU", "PReLU", "RReLU")
"""Activations whose slope has a lower bound: they do not saturate."""


def flat_region(activation: Activation | None, threshold: float) -> FlatRegion | None:
    """Returns where an activation is saturated; None if it never is.

    Args:
        activation: Any activation; None = a layer that is none, which is judged like tanh.
        threshold: Output, in (0, 1), beyond which tanh counts as saturated.
    """
    kind = "Tanh" if activation is None else activation.kind
    arguments: Mapping[str, float] = {} if activation is None else activation.arguments
    slope = 1 - threshold**2
    if kind in NEVER:
        return None
    if kind in CURVES:
        cut = lower_cut(kind, slope)
        return FlatRegion(lambda x: widened(x) <= cut, of_input=True)
    test = OUTPUTS[kind](arguments, threshold, slope)
    off = _off(kind, arguments)
    if kind in ("Hardtanh", "Threshold"):
        # Limits are rounded to the type of the values, by the module and by the comparison.
        return FlatRegion(test, off=off)
    return FlatRegion(lambda h: test(widened(h)), off=off)


def _off(kind: str, arguments: Mapping[str, float]) -> str | None:
    """Returns words for the values of a unit that is switched off; None of an activation that is linear around zero."""
    if kind in ("ReLU", "Hardshrink", "Softshrink"):
        return "zeros"
    if kind == "Threshold":
        return "zeros" if arguments["value"] == 0 else f"at {arguments['value']:g}"
    if kind == "Hardtanh" and arguments["min_val"] == 0:  # ReLU6
        return f"at 0 or {arguments['max_val']:g}"
    return None


@cache
def lower_cut(kind: str, slope: float) -> float:
    """Returns the input up to which a curve, flat at minus infinity, is nowhere as steep as `slope`, on a fine grid."""
    grid = torch.linspace(-50, 0, 50_001, dtype=torch.float64)
    with torch.inference_mode(False), torch.enable_grad():
        inputs = grid.clone().requires_grad_()
        (slopes,) = torch.autograd.grad(CURVES[kind](inputs).sum(), inputs)
    steep = (slopes.abs() >= slope).nonzero()
    return float(grid[max(int(steep[0]) - 1, 0)]) if len(steep) else 0.0


CURVES: dict[str, Callable[[Tensor], Tensor]] = {
    "GELU": nn.functional.gelu,
    "SiLU": nn.functional.silu,
    "Mish": nn.functional.mish,
    "Hardswish": nn.functional.hardswish,
}
"""Activations that fall before they rise: an output just below zero does not tell the slope."""

SELU_FLOOR = 1.0507009873554805 * 1.6732632423543772
"""SELU's limit at minus infinity, negated: scale times alpha."""

Arguments = Mapping[str, float]


def _tanhshrink(arguments: Arguments, threshold: float, slope: float) -> Test:
    # The slope is tanh(x)**2: flat around zero, up to the output of the input that has this slope.
    limit = math.atanh(math.sqrt(slope)) - math.sqrt(slope)
    return lambda h: h.abs() < limit


OUTPUTS: dict[str, Callable[[Arguments, float, float], Test]] = {
    "Tanh": lambda _, threshold, __: lambda h: h.abs() > threshold,
    "Sigmoid": lambda _, __, slope: lambda s: s * (1 - s) < slope,
    "Softsign": lambda _, __, slope: lambda h: (1 - h.abs()).square() < slope,
    "ReLU": lambda *_: lambda h: h <= 0,
    "Hardtanh": lambda a, *_: lambda h: (h <= a["min_val"]) | (h >= a["max_val"]),
    "Hardsigmoid": lambda *_: lambda h: (h <= 0) | (h >= 1),
    "Threshold": lambda a, *_: lambda h: h == a["value"],
    "Tanhshrink": _tanhshrink,
    "Hardshrink": lambda *_: lambda h: h == 0,
    "Softshrink": lambda *_: lambda h: h == 0,
    # Below zero the slope is the output, moved to begin at 0.
    "ELU": lambda a, _, slope: lambda h: (h < 0) & (h + a["alpha"] < slope),
    "CELU": lambda a, _, slope: lambda h: (h < 0) & (h / a["alpha"] + 1 < slope),
    "SELU": lambda _, __, slope: lambda h: (h < 0) & (h + SELU_FLOOR < slope),
    # The slope is 1 - exp(-beta h), and 1 - exp(h) for the logarithm of a sigmoid.
    "Softplus": lambda a, _, slope: lambda h: -torch.expm1(-a["beta"] * h) < slope,
    "LogSigmoid": lambda _, __, slope: lambda h: -torch.expm1(h) < slope,
}
"""Makes the test of the output from the activation's arguments, the threshold and the smallest slope."""
