"""Facts of a model and its optimizers that are not measured."""

import math
from collections.abc import Iterable, Mapping

from torch import nn
from torch.optim import Optimizer

from ..probe.plan import Model
from ..probe.selection import class_name
from ..probe.structure import Structure


def stacked_of(
    structure: Structure, layers: Mapping[str, nn.Module]
) -> tuple[tuple[str, str], ...]:
    """Returns the pairs of linear or convolutional layers with nothing between; the input of an LSTM is none."""

    def is_linear(weight: str) -> bool:
        layer = layers.get(weight.rpartition(".")[0])
        return isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)

    return tuple(pair for pair in structure.stacked if all(map(is_linear, pair)))


def compare_params(
    params: Mapping[str, nn.Parameter], optimizers: Iterable[Optimizer]
) -> tuple[tuple[str, ...], int]:
    """Returns the trainable parameters that no optimizer has, and the number that are none of the model's."""
    optimized = optimized_params(optimizers)
    known = {id(param): name for name, param in params.items()}
    missing = [
        name
        for name, param in params.items()
        if param.requires_grad and id(param) not in optimized
    ]
    return tuple(missing), len(optimized - known.keys())


def optimized_params(optimizers: Iterable[Optimizer]) -> set[int]:
    """Returns the identities of all parameters of some optimizers."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    return {id(param) for group in groups for param in group["params"]}


def unregistered_of(
    structure: Structure, optimizers: Iterable[Optimizer]
) -> tuple[tuple[int, ...], ...]:
    """Returns the shapes of parameters that neither the model nor an optimizer has."""
    if not structure.unregistered:
        return ()
    optimized = optimized_params(optimizers)
    return tuple(
        shape for place, shape in structure.unregistered if place not in optimized
    )


def dropped_fractions(model: Model) -> dict[str, float]:
    """Returns the fraction of the values that each dropout drops, by name."""
    return {
        name: layer.p
        for name, layer in model.mode_dependent.items()
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.training
    }


def modules_in_eval_mode(model: Model) -> dict[str, str]:
    """Returns dropout and BatchNorm that are in eval mode though what they belong to trains, by class name."""
    modules = {}
    for name, layer in model.mode_dependent.items():
        if layer.training or getattr(layer, "p", 1) == 0:
            continue
        has_params = isinstance(layer, nn.modules.batchnorm._BatchNorm)
        parent = model.layers.get(name.rpartition(".")[0], model.root)
        owner = layer if has_params else parent
        if any(param.requires_grad for param in owner.parameters()):
            modules[name] = class_name(layer)
    return modules


def norms_of_one_value(model: Model) -> dict[str, str]:
    """Returns norms that are given the size of one value, by class name: (x - x) / 0 is the same for every x."""
    return {
        name: class_name(layer)
        for name, layer in model.layers.items()
        if "Norm" in class_name(layer)
        and math.prod(getattr(layer, "normalized_shape", (0,))) == 1
    }
