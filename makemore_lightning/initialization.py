"""Initialization schemes by name: what each does to the weights, and why.

A scheme fills one layer. `initialize` walks a network in the order of the notes (embedding, hidden layers, head), so
that one generator draws the same numbers as they do. Weights are drawn as `(fan_in, fan_out)`, the notes' layout.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from makemore_lightning.errors import InputError


@dataclass(frozen=True)
class Scheme:
    """How a network starts.

    Args:
        hidden: Fills a hidden layer, given the gain of the activation that follows it.
        head: Fills the head, given the gain of no activation (1).
        head_scale: The head's weights are multiplied by it, unless the user gives another.
    """

    hidden: Callable[[nn.Linear, float, Generator | None], None]
    head: Callable[[nn.Linear, float, Generator | None], None]
    head_scale: float


def naive(layer: nn.Linear, gain: float, generator: Generator | None = None) -> None:
    """Standard normal weights and biases, whatever the fan_in: the first run of the notes.

    With 30 inputs the pre-activations have a standard deviation near 5, so tanh saturates; with 200 the logits have
    one near 14, so the network is confidently wrong and its first loss is about 27 in the place of ln 27 = 3.30.
    `gain` is not used.
    """
    _fill_normal(layer, 1.0, 1.0, generator)


def logits(layer: nn.Linear, gain: float, generator: Generator | None = None) -> None:
    """Standard normal weights, zero biases: the head of the notes' second run, to be scaled to near nothing.

    With logits near 0 every character is as likely as any other, and the first loss is ln 27 = 3.30. `gain` is not
    used.
    """
    _fill_normal(layer, 1.0, 0.0, generator)


def tanh(layer: nn.Linear, gain: float, generator: Generator | None = None) -> None:
    """Normal weights x 0.2 and biases x 0.01, by hand as in the notes' third run, to keep tanh off its flat ends.

    The 0.2 is right for 30 inputs only; Kaiming's rule is what it becomes for any fan_in. `gain` is not used.
    """
    _fill_normal(layer, 0.2, 0.01, generator)


def kaiming(layer: nn.Linear, gain: float, generator: Generator | None = None) -> None:
    """Normal weights with standard deviation gain / sqrt(fan_in), zero biases.

    Keeps the spread of the activations the same from layer to layer. Source: He et al. 2015, "Delving Deep into
    Rectifiers", https://arxiv.org/abs/1502.01852, equation 10.
    """
    _fill_normal(layer, gain / math.sqrt(layer.in_features), 0.0, generator)


def pytorch(layer: nn.Linear, gain: float, generator: Generator | None = None) -> None:
    """What `torch.nn.Linear` does on its own: weights and biases uniform within 1 / sqrt(fan_in).

    Their standard deviation is 1 / sqrt(3 fan_in), that is Kaiming's rule with a gain of 0.58. `gain` is not used.
    Source: `torch.nn.Linear.reset_parameters`.
    """
    bound = 1 / math.sqrt(layer.in_features)
    for tensor in (layer.weight, layer.bias):
        if tensor is not None:
            nn.init.uniform_(tensor, -bound, bound, generator=generator)


SCHEMES = {
    "naive": Scheme(hidden=naive, head=naive, head_scale=1.0),
    "logits": Scheme(hidden=naive, head=logits, head_scale=0.01),
    "tanh": Scheme(hidden=tanh, head=logits, head_scale=0.01),
    "kaiming": Scheme(hidden=kaiming, head=kaiming, head_scale=0.1),
    "torch": Scheme(hidden=pytorch, head=pytorch, head_scale=1.0),
}


def find_scheme(name: str) -> Scheme:
    """Returns the scheme of that name.

    Raises:
        InputError: If there is none; lists what there is.
    """
    if name not in SCHEMES:
        raise InputError(f"init={name!r} is no initialization scheme; there are: {', '.join(SCHEMES)}")
    return SCHEMES[name]


def activation_gain(activation: nn.Module) -> float:
    """Returns the factor that makes up for the spread an activation takes away.

    PyTorch's recommended value where it has one (5/3 for tanh, sqrt(2) for ReLU). For the others, the factor under
    which the activation keeps the mean square of a standard normal input, which is how ReLU's sqrt(2) comes about.

    Example:
        >>> round(activation_gain(nn.Tanh()), 4), round(activation_gain(nn.GELU()), 4)
        (1.6667, 1.5335)
    """
    name = "leaky_relu" if isinstance(activation, nn.LeakyReLU) else type(activation).__name__.lower()
    try:
        return nn.init.calculate_gain(name, getattr(activation, "negative_slope", None))  # type: ignore[arg-type]
    except ValueError:
        z = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
        density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
        mean_square = torch.trapezoid(activation(z).square() * density, z)
        return float(mean_square.rsqrt())


@torch.no_grad()
def initialize(
    embedding: nn.Embedding,
    hidden: Sequence[nn.Linear],
    head: nn.Linear,
    head_norm: nn.BatchNorm1d | None,
    *,
    scheme: Scheme,
    gain: float,
    head_scale: float | None = None,
    generator: Generator | None = None,
) -> None:
    """Fills a network in order: embedding, hidden layers, head.

    Args:
        embedding: Standard normal under every scheme.
        hidden: The hidden layers, first to last.
        head: The layer that gives the logits.
        head_norm: The BatchNorm after the head, if there is one. It undoes any scale of the head's weights, so the
            head scale then goes to its weight (gamma), as in the lecture.
        scheme: What to fill the layers with.
        gain: Gain of the activation, for schemes that use it.
        head_scale: Makes the first logits small, so that the network starts unsure; None = the scheme's own.
        generator: Source of the numbers; None = PyTorch's global one.
    """
    nn.init.normal_(embedding.weight, generator=generator)
    for layer in hidden:
        scheme.hidden(layer, gain, generator)
    scheme.head(head, 1.0, generator)
    scaled = head.weight if head_norm is None else head_norm.weight
    scaled.mul_(scheme.head_scale if head_scale is None else head_scale)


def _fill_normal(layer: nn.Linear, weight_std: float, bias_std: float, generator: Generator | None) -> None:
    weight = torch.randn(layer.in_features, layer.out_features, generator=generator)
    layer.weight.copy_(weight.T * weight_std)
    if layer.bias is not None:
        bias: Tensor = torch.randn(layer.out_features, generator=generator) if bias_std else torch.zeros(())
        layer.bias.copy_(bias * bias_std)
