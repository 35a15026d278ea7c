"""Breaks of the optimization and of the data."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .breaks import Break, layer_of, replace
from .training import Training


def multiply_rate(by: float) -> Break:
    """Multiplies the learning rate of all groups."""

    def change(training: Training) -> None:
        training.module.rate = by  # type: ignore[assignment]

    return change


def at_optimizer(training: Training, change: Callable[[Optimizer], None]) -> None:
    """Changes the optimizer when it is built."""
    training.module.breaks.append(change)  # type: ignore[union-attr,operator]


def without(optimizer: Optimizer, params: list[nn.Parameter]) -> None:
    """Removes parameters from the groups of an optimizer."""
    removed = {id(param) for param in params}
    for group in optimizer.param_groups:
        group["params"] = [each for each in group["params"] if id(each) not in removed]


def set_rate_of(name: str, by: float) -> Break:
    """Gives the parameters of a layer a group with another learning rate."""

    def change(training: Training) -> None:
        params = list(layer_of(training, name).parameters())

        def regroup(optimizer: Optimizer) -> None:
            without(optimizer, params)
            rate = optimizer.param_groups[0]["lr"] * by
            optimizer.add_param_group({"params": params, "lr": rate})

        at_optimizer(training, regroup)

    return change


def forget(*names: str) -> Break:
    """Leaves the parameters of layers out of the optimizer."""

    def change(training: Training) -> None:
        layers = [layer_of(training, name) for name in names]
        params = [param for layer in layers for param in layer.parameters()]
        at_optimizer(training, lambda optimizer: without(optimizer, params))

    return change


def give_copy(training: Training) -> None:
    """Gives the optimizer the parameters of a copy of the network."""

    def change(optimizer: Optimizer) -> None:
        for group in optimizer.param_groups:
            params = copy.deepcopy([param.detach() for param in group["params"]])
            group["params"] = [nn.Parameter(param) for param in params]

    at_optimizer(training, change)


def recreate(name: str) -> Break:
    """Replaces a layer by a new one after the optimizer was built."""

    def change(training: Training) -> None:
        def swap(_: Optimizer) -> None:
            layer = copy.deepcopy(layer_of(training, name))
            layer.reset_parameters()
            replace(training, name, layer)

        at_optimizer(training, swap)

    return change


def zero_grad(when: str) -> Break:
    """Moves the call of zero_grad of an optimization by hand."""

    def change(training: Training) -> None:
        training.module.zero_grad_when = when  # type: ignore[assignment]

    return change


class Changed:
    """Batches that are changed on their way.

    Args:
        batches: Batches.
        change: Function of the number of a batch and the batch.
    """

    def __init__(
        self, batches: Any, change: Callable[[int, list[Tensor]], list[Tensor]]
    ) -> None:
        self.batches, self.change = batches, change

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for number, batch in enumerate(self.batches):
            yield tuple(self.change(number, list(batch)))


def change_batches(change: Callable[[int, list[Tensor]], list[Tensor]]) -> Break:
    """Changes each batch."""

    def install(training: Training) -> None:
        training.batches = Changed(training.batches, change)

    return install


def scale_inputs(by: float, shift: float = 0) -> Break:
    """Multiplies the inputs, and adds a number."""
    return change_batches(lambda _, batch: [batch[0] * by + shift, *batch[1:]])


def permute_labels() -> Break:
    """Gives the rows of a batch the targets of one another."""
    generator = torch.Generator().manual_seed(0)

    def change(_: int, batch: list[Tensor]) -> list[Tensor]:
        order = torch.randperm(len(batch[-1]), generator=generator)
        return [*batch[:-1], batch[-1][order]]

    return change_batches(change)


def cut_batches(rows: int) -> Break:
    """Makes batches small."""
    return change_batches(lambda _, batch: [tensor[:rows] for tensor in batch])


def nan_in_batch(step: int, value: float = torch.nan) -> Break:
    """Puts a NaN into the inputs of a batch."""

    def change(number: int, batch: list[Tensor]) -> list[Tensor]:
        if number == step:
            batch[0] = batch[0].clone()
            batch[0][3] = value
        return batch

    return change_batches(change)


def argue(**arguments: Any) -> Break:
    """Gives the Trainer other arguments."""
    return lambda training: training.arguments.update(arguments)


def spike(step: int, by: float) -> Break:
    """Multiplies the learning rate at one step."""

    def change(training: Training) -> None:
        module: Any = training.module
        module.schedule = lambda number: by if number == step else 1.0

    return change
