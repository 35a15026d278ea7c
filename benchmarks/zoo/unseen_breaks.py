"""Breaks of the unseen trainings, as mistakes are made by hand."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import ExponentialLR

from .breaks import Break, layer_of, network
from .breaks_of_training import at_optimizer, change_batches
from .data import Batches
from .fits import ByHand
from .training import Training
from .unseen_data import learned, unscaled


def draw_all(std: float, *kinds: type) -> Break:
    """Draws the weights of all layers of some classes from a normal distribution."""

    def change(training: Training) -> None:
        for layer in network(training).modules():
            if isinstance(layer, kinds):
                nn.init.normal_(layer.weight, std=std)  # type: ignore[arg-type]

    return change


def zero_all(training: Training) -> None:
    """Sets the weights and biases of all linear and convolution layers to zero."""
    for layer in network(training).modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            for param in layer.parameters():
                nn.init.zeros_(param)


def favor_first_class(by: float) -> Break:
    """Adds a number to the first bias of the head."""

    def change(training: Training) -> None:
        layer_of(training, "net.head").bias.data[0] += by

    return change


def without_skips(training: Training) -> None:
    """Leaves the residual connections of ReZero out."""
    net = network(training)

    class Plain(type(net)):
        def forward(self, x: Tensor) -> Tensor:
            h = self.stem(x)
            for layer in self.layers:
                h = F.relu(layer(h))
            return self.head(h)

    net.__class__ = Plain


def by_hand(zero_grad: str = "before", accumulate: int = 1) -> Break:
    """Optimizes by hand.

    Args:
        zero_grad: "before" the backward pass, "late" between it and the step, or "never".
        accumulate: Number of batches whose gradients are summed for a step.
    """

    def change(training: Training) -> None:
        module: Any = training.module
        loss = module.loss
        copy = ByHand(module.net, loss, module.make_optimizer)
        copy.zero_grad_when, copy.accumulate = zero_grad, accumulate
        training.module = copy

    return change


def without_gradient(name: str) -> Break:
    """Runs a layer under `torch.no_grad`."""

    def change(training: Training) -> None:
        layer = layer_of(training, name)
        kind = type(layer)

        class Silent(kind):
            def forward(self, *inputs: Any) -> Any:
                with torch.no_grad():
                    return super().forward(*inputs)

        Silent.__name__ = Silent.__qualname__ = kind.__name__
        layer.__class__ = Silent

    return change


def hide_in_list(name: str) -> Break:
    """Puts layers in a Python list, in which PyTorch does not find them."""

    def change(training: Training) -> None:
        net = network(training)
        layers = list(getattr(net, name))
        delattr(net, name)
        setattr(net, name, layers)

    return change


def freeze(*names: str) -> Break:
    """Freezes layers."""

    def change(training: Training) -> None:
        for name in names:
            layer_of(training, name).requires_grad_(False)

    return change


def evaluate_from(step: int) -> Break:
    """Puts the network in eval mode at a step, as after a validation by hand."""

    def change(training: Training) -> None:
        def switch(number: int, batch: list[Tensor]) -> list[Tensor]:
            if number == step:
                network(training).eval()
            return batch

        change_batches(switch)(training)

    return change


def decay_at_once(gamma: float) -> Break:
    """Multiplies the rate by a factor at each step, which is meant for each epoch."""

    def change(training: Training) -> None:
        module: Any = training.module
        module.make_scheduler = lambda optimizer: ExponentialLR(optimizer, gamma)

    return change


def schedule(factor: Callable[[int], float]) -> Break:
    """Schedules the rate."""

    def change(training: Training) -> None:
        module: Any = training.module
        module.schedule = factor

    return change


def set_group(**options: Any) -> Break:
    """Sets options of all groups of the optimizer."""

    def change(training: Training) -> None:
        def update(optimizer: Any) -> None:
            for group in optimizer.param_groups:
                group.update(options)

        at_optimizer(training, update)

    return change


def drop_out(p: float) -> Break:
    """Sets the probability of all dropouts."""

    def change(training: Training) -> None:
        for layer in network(training).modules():
            if isinstance(layer, nn.Dropout):
                layer.p = p

    return change


def unscale_wine(training: Training) -> None:
    """Takes the columns of wine in their units, of which one is near 1000."""
    training.batches = Batches(*learned(*unscaled("wine")), size=32)


def change_inputs(function: Callable[[Tensor], Tensor], column: int = 0) -> Break:
    """Applies a function to a column of each batch; -1 = the targets."""

    def change(_: int, batch: list[Tensor]) -> list[Tensor]:
        batch[column] = function(batch[column])
        return batch

    return change_batches(change)
