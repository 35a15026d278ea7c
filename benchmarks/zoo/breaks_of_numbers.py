"""Breaks that make a NaN or an infinity at a known step, in a known layer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .breaks import Break, layer_of, replace
from .training import Training

Function = Callable[[Tensor], Tensor]


class Trap(nn.Module):
    """Layer with a function behind it at one training step.

    Args:
        layer: Layer.
        function: Applied to the layer's output at that step.
        step: Number of the call in training.
    """

    def __init__(self, layer: nn.Module, function: Function, step: int) -> None:
        super().__init__()
        self.layer, self.function, self.step = layer, function, step
        self.count = 0

    def forward(self, x: Tensor) -> Tensor:
        output = self.layer(x)
        if self.count == self.step:
            output = self.function(output)
        self.count += self.training
        return output


def trap(name: str, function: Function, step: int) -> Break:
    """Puts a trap in the place of a layer."""

    def change(training: Training) -> None:
        layer = layer_of(training, name)
        replace(training, name, Trap(layer, function, step))

    return change


def log_of_negative(x: Tensor) -> Tensor:
    """Logarithm without a lower bound of its argument."""
    return torch.log(x - x.mean())


def zero_by_zero(x: Tensor) -> Tensor:
    """Division by a standard deviation that is zero."""
    centered = x - x
    return centered / centered.std()


def exp_overflow(x: Tensor) -> Tensor:
    """Softmax by hand without subtracting the maximum."""
    exponents = torch.exp(x * 1000 / x.abs().max())
    return exponents / exponents.sum(-1, keepdim=True)


def sqrt_at_zero(x: Tensor) -> Tensor:
    """Square root at zero, whose derivative is infinite."""
    return x + torch.sqrt(x * 0)


def norm_of_zero(x: Tensor) -> Tensor:
    """Distance of two equal vectors by hand; its derivative is 0 / 0."""
    return x + (x - x.detach()).square().sum(-1, keepdim=True).sqrt()


def arccos_at_one(x: Tensor) -> Tensor:
    """Angle between two equal vectors, whose derivative is infinite."""
    cosine = torch.ones_like(x[..., :1]) + 0 * x[..., :1]
    return x + torch.acos(cosine)
