"""Activations: the elementwise nonlinearities among modules and functions, by their `torch.nn` names."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from torch import nn

DEFAULTS: dict[str, Mapping[str, float]] = {
    "Tanh": {},
    "Sigmoid": {},
    "Softsign": {},
    "ReLU": {},
    "Hardtanh": {"min_val": -1.0, "max_val": 1.0},  # nn.ReLU6 is a subclass
    "Hardsigmoid": {},
    "Threshold": {"threshold": 0.0, "value": 0.0},
    "Tanhshrink": {},
    "Hardshrink": {},
    "Softshrink": {},
    "LeakyReLU": {},
    "PReLU": {},
    "RReLU": {},
    "ELU": {"alpha": 1.0},
    "CELU": {"alpha": 1.0},
    "SELU": {},
    "Softplus": {"beta": 1.0},
    "LogSigmoid": {},
    "GELU": {},
    "SiLU": {},
    "Mish": {},
    "Hardswish": {},
}
"""Activations of `torch.nn`, with the arguments that decide where their slope is small."""

FUNCTIONS = {kind.lower(): kind for kind in DEFAULTS} | {
    "leaky_relu": "LeakyReLU",
    "log_sigmoid": "LogSigmoid",
    "relu6": "Hardtanh",
}
"""Activations among the functions of torch and the methods of tensors, by function name."""

FOREIGN = {
    "GELU": re.compile(
        r"(new|fast|quick|accurate|clipped|pytorch)?gelu(activation|tanh)?"
    ),
    "SiLU": re.compile(r"(silu|swish)(activation)?"),
    "Mish": re.compile(r"mish(activation)?"),
    "ReLU": re.compile(r"relu(squared|2)?(activation)?"),
    "Tanh": re.compile(r"tanh(activation)?"),
    "Sigmoid": re.compile(r"sigmoid(activation)?"),
}
"""Lower-case class names under which other packages (transformers, timm, ...) have activations of `torch.nn`."""


@dataclass(frozen=True)
class Activation:
    """One elementwise nonlinearity.

    Attributes:
        kind: Class name in `torch.nn`; a subclass has that of its base, so that ReLU6 is a Hardtanh.
        arguments: Values of the arguments in `DEFAULTS`.
    """

    kind: str
    arguments: Mapping[str, float] = field(default_factory=dict, hash=False)


def activation_of_module(module: nn.Module) -> Activation | None:
    """Returns the activation that a module is; None of any other module.

    Modules of other packages are known by their class name, if they have neither children nor parameters.
    """
    for base in type(module).__mro__:
        if base.__module__.startswith("torch.nn.") and base.__name__ in DEFAULTS:
            names = DEFAULTS[base.__name__]
            return Activation(
                base.__name__, {name: getattr(module, name) for name in names}
            )
    if any(True for _ in module.children()) or any(True for _ in module.parameters()):
        return None
    class_name = type(module).__name__.lower()
    kind = next(
        (kind for kind, pattern in FOREIGN.items() if pattern.fullmatch(class_name)),
        None,
    )
    return None if kind is None else Activation(kind, DEFAULTS[kind])


def is_activation(module: nn.Module) -> bool:
    """True of an elementwise nonlinearity of `torch.nn`, or known by its class name."""
    return activation_of_module(module) is not None


@lru_cache(
    maxsize=1024
)  # asked for every function of torch that a model calls at a due step
def function_name(function: Callable[..., Any]) -> str | None:
    """Returns the name of an activation function, without the underscore of an in-place variant; None of any other.

    Example:
        >>> import torch
        >>> function_name(torch.Tensor.tanh_), function_name(torch.nn.functional.gelu), function_name(torch.exp)
        ('tanh', 'gelu', None)
    """
    name = getattr(function, "__name__", "").strip("_")
    return name if name in FUNCTIONS else None


def activation_of_call(
    name: str, arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> Activation:
    """Returns the activation that a call of a function computes.

    Args:
        name: One of `FUNCTIONS`.
        arguments: Positional arguments of the call, the input first.
        keywords: Keyword arguments of the call.
    """
    kind = FUNCTIONS[name]
    values = dict(DEFAULTS[kind])
    if name == "relu6":
        values |= {"min_val": 0.0, "max_val": 6.0}
    else:
        values |= dict(zip(values, arguments[1:], strict=False))
    return Activation(
        kind, values | {key: keywords[key] for key in values if key in keywords}
    )
