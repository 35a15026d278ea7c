"""Initialization schemes, selected by name.

A scheme has one function for the hidden layers and one for the head. `initialize` applies them in the order of the
notes (embedding, hidden layers, head), so that a generator with the seed of the notes draws the weights of the notes.
Weights are drawn as `(fan_in, fan_out)`, the layout of the notes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, nn

from makemore_lightning.errors import InputError

LayerInitializer = Callable[[nn.Linear, float, Generator | None], None]
"""Initializes a layer in place, from the gain of the activation after it and a random number generator."""


@dataclass(frozen=True)
class Scheme:
    """An initialization of a whole network.

    Args:
        hidden: Initializes a hidden layer, with the gain of the activation after it.
        head: Initializes the head, with a gain of 1, since no activation follows.
        head_scale: Default factor on the head's weights.
    """

    hidden: LayerInitializer
    head: LayerInitializer
    head_scale: float


def naive(layer: nn.Linear, gain: float, generator: Generator | None = None) -> None:
    """Standard normal weights and biases, independent of fan_in: the first run of the notes.

    With 30 inputs the pre-activations have a standard deviation near 5, so that tanh saturates; with 200 inputs the
    logits have a standard deviation near 14, so that the network is confidently wrong: its loss at initialization is
    about 26, where a uniform prediction has ln 27 = 3.30. `gain` is not used.
    """
    _fill_normal(layer, 1.0, 1.0, generator)


def logits(layer: nn.Linear, gain: float, generator: Generator | None = None) -> None:
    """Standard normal weights, zero biases: the head of the notes' second run, to be scaled close to 0.

    With logits near 0 all characters are about equally likely, and the loss at initialization is ln 27 = 3.30. `gain`
    is not used.
    """
    _fill_normal(layer, 1.0, 0.0, generator)


def tanh(layer: nn.Linear, gain: float, generator: Generator | None = None) -> None:
    """Standard normal weights x 0.2 and biases x 0.01, the notes' third run: tanh does not saturate.

    The factor 0.2 was chosen by hand for 30 inputs; Kaiming's rule generalizes it to any fan_in. `gain` is not used.
    """
    _fill_normal(layer, 0.2, 0.01, generator)


def kaiming(layer: nn.Linear, gain: float, generator: Generator | None = None) -> None:
    """Normal weights with standard deviation gain / sqrt(fan_in), zero biases.

    The standard deviation of the activations is then the same in every layer.
    Source: He et al. 2015, "Delving Deep into Rectifiers", https://arxiv.org/abs/1502.01852, equation 10.
    """
    _fill_normal(layer, gain / math.sqrt(layer.in_features), 0.0, generator)


def pytorch(layer: nn.Linear, gain: float, generator: Generator | None = None) -> None:
    """Weights and biases uniform within 1 / sqrt(fan_in): the default of `torch.nn.Linear`.

    Their standard deviation is 1 / sqrt(3 fan_in): Kaiming's rule with a gain of 0.58. `gain` is not used.
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


NAMES_IN_TORCH = {"LeakyReLU": "leaky_relu", "Identity": "linear"}
"""Names in `nn.init.calculate_gain` that are not the class's in lower case."""


def find_scheme(name: str) -> Scheme:
    """Returns a scheme by name.

    Raises:
        InputError: If the name is unknown; the message lists the names.
    """
    if name not in SCHEMES:
        raise InputError(
            f"init={name!r} is no initialization scheme; there are: {', '.join(SCHEMES)}"
        )
    return SCHEMES[name]


def activation_gain(activation: nn.Module) -> float:
    """Returns the factor that compensates for the smaller standard deviation of an activation's output.

    The value of `nn.init.calculate_gain` if defined (5/3 for tanh, sqrt(2) for ReLU). For other activations, the
    factor that makes the mean square of the output 1 for a standard normal input; for ReLU, this factor is sqrt(2).

    Example:
        >>> round(activation_gain(nn.Tanh()), 4), round(activation_gain(nn.GELU()), 4)
        (1.6667, 1.5335)
    """
    class_name = type(activation).__name__
    name = NAMES_IN_TORCH.get(class_name, class_name.lower())
    try:
        return nn.init.calculate_gain(name, getattr(activation, "negative_slope", None))  # type: ignore[arg-type]
    except ValueError:
        return _mean_square_gain(activation)


def _mean_square_gain(activation: nn.Module) -> float:
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
    """Initializes a network in place, in the order embedding, hidden layers, head.

    Args:
        embedding: The embedding; standard normal under every scheme.
        hidden: The hidden layers, first to last.
        head: The layer whose outputs are the logits.
        head_norm: The BatchNorm after the head, or None. BatchNorm cancels any scale of the head's weights, so that
            the head scale is applied to the weight (gamma) of the BatchNorm, as in the lecture.
        scheme: The initialization scheme.
        gain: Gain of the activation, for schemes that use it.
        head_scale: Factor that makes the logits small at initialization; None = the default of the scheme.
        generator: Random number generator; None = PyTorch's global generator.
    """
    nn.init.normal_(embedding.weight, generator=generator)
    for layer in hidden:
        scheme.hidden(layer, gain, generator)
    scheme.head(head, 1.0, generator)
    scaled = head.weight if head_norm is None else head_norm.weight
    scaled.mul_(scheme.head_scale if head_scale is None else head_scale)


def _fill_normal(
    layer: nn.Linear, weight_std: float, bias_std: float, generator: Generator | None
) -> None:
    weight = torch.randn(layer.in_features, layer.out_features, generator=generator)
    layer.weight.copy_(weight.T * weight_std)
    if layer.bias is None:
        return
    if bias_std == 0:
        layer.bias.zero_()  # without drawing, as in the notes
    else:
        bias = torch.randn(layer.out_features, generator=generator)
        layer.bias.copy_(bias * bias_std)
