"""Breaks: each changes one thing about a training, in its network."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .training import Training

Break = Callable[[Training], None]


def network(training: Training) -> Any:
    """Returns the network within the LightningModule."""
    return training.module.net


def layer_of(training: Training, name: str) -> Any:
    return training.module.get_submodule(name)


def replace(training: Training, name: str, layer: nn.Module) -> None:
    """Puts a layer in the place of another."""
    parent, _, child = name.rpartition(".")
    setattr(training.module.get_submodule(parent), child, layer)


def scale_weights(*names: str, by: float) -> Break:
    """Multiplies the weights of layers."""

    def change(training: Training) -> None:
        for name in names:
            layer_of(training, name).weight.data *= by

    return change


def shift_bias(name: str, by: float) -> Break:
    """Adds a number to the biases of a layer."""

    def change(training: Training) -> None:
        layer_of(training, name).bias.data += by

    return change


def fill(*names: str, value: float) -> Break:
    """Sets all weights of layers to a number, and the biases to 0."""

    def change(training: Training) -> None:
        for name in names:
            layer = layer_of(training, name)
            nn.init.constant_(layer.weight, value)
            nn.init.zeros_(layer.bias)

    return change


def remove(*names: str) -> Break:
    """Puts an identity in the place of layers."""

    def change(training: Training) -> None:
        for name in names:
            replace(training, name, nn.Identity())

    return change


def activate(*names: str, kind: Callable[[], nn.Module]) -> Break:
    """Puts another activation in the place of layers."""

    def change(training: Training) -> None:
        for name in names:
            replace(training, name, kind())

    return change


def detach(name: str) -> Break:
    """Detaches the output of a layer, which keeps its name and its class."""

    def change(training: Training) -> None:
        layer = layer_of(training, name)
        kind = type(layer)

        class Detached(kind):
            def forward(self, *inputs: Any) -> Any:
                return super().forward(*inputs).detach()

        Detached.__name__ = Detached.__qualname__ = kind.__name__
        layer.__class__ = Detached

    return change


def evaluate(kinds: type | tuple[type, ...]) -> Break:
    """Puts all layers of some classes in eval mode."""

    def change(training: Training) -> None:
        for layer in training.module.modules():
            if isinstance(layer, kinds):
                layer.eval()

    return change


def evaluate_all(training: Training) -> None:
    """Puts the network in eval mode, as a model comes out of `from_pretrained`."""
    network(training).eval()


def append(name: str, make: Callable[[], nn.Module]) -> Break:
    """Adds a layer to the output of a sequential network."""

    def change(training: Training) -> None:
        network(training).add_module(name, make())

    return change


def map_output(function: Callable[[Tensor], Tensor]) -> Break:
    """Applies a function to the outputs, within the loss."""

    def change(training: Training) -> None:
        module: Any = training.module
        loss = module.loss
        if isinstance(loss, nn.Module):
            del module.loss
        module.loss = lambda outputs, targets: loss(function(outputs), targets)

    return change


def map_loss(function: Callable[[Tensor], Tensor]) -> Break:
    """Applies a function to the loss."""

    def change(training: Training) -> None:
        module: Any = training.module
        loss = module.loss
        if isinstance(loss, nn.Module):
            del module.loss
        module.loss = lambda outputs, targets: function(loss(outputs, targets))

    return change


def swap_loss(loss: Callable[[Any, Any], Tensor]) -> Break:
    """Computes another loss of the same outputs."""

    def change(training: Training) -> None:
        module: Any = training.module
        if isinstance(module.loss, nn.Module):
            del module.loss
        module.loss = loss

    return change


def draw(names: Iterable[str], std: float) -> Break:
    """Draws weights from a normal distribution, whatever the number of inputs."""

    def change(training: Training) -> None:
        for name in names:
            nn.init.normal_(layer_of(training, name).weight, std=std)

    return change


def freeze_scale(training: Training) -> None:
    """Removes all LayerNorms."""
    for name, layer in list(training.module.named_modules()):
        if isinstance(layer, nn.LayerNorm):
            replace(training, name, nn.Identity())


def weights_of(training: Training, kinds: tuple[type, ...]) -> list[Tensor]:
    """Returns the weights of all layers of some classes."""
    layers = [
        layer for layer in network(training).modules() if isinstance(layer, kinds)
    ]
    return [layer.weight for layer in layers]


def scale_all(by: float, kinds: tuple[type, ...] = (nn.Linear, nn.Conv2d)) -> Break:
    """Multiplies the weights of all layers of some classes."""

    def change(training: Training) -> None:
        with torch.no_grad():
            for weight in weights_of(training, kinds):
                weight *= by

    return change
