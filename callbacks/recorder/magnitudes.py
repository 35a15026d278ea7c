"""Largest magnitudes of the outputs of layers, measured in every step."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..measure.placement import is_readable
from ..probe.guard import Guard
from ..probe.layer_hooks import LayerHooks, floating_tensors, no_hook
from ..probe.plan import MOST, Model
from ..probe.selection import class_name, evenly_spread, leaf_layers, matching

LARGE = 2**16
"""Values from which it takes less time to make no copy of them."""


class Magnitudes:
    """Forward hooks that measure the largest magnitude of each output of some layers.

    Layers inside compiled code have no numbers: a hook would be compiled along, and change what is computed.

    Args:
        layers: Layers by name.
    """

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        self.guard = Guard()
        self.largest: dict[str, Tensor] = {}
        """`()` largest magnitude by layer, of the calls since it was last emptied."""
        self._layers = layers
        self._hooks = LayerHooks(self.guard, self._note, no_hook, no_hook)

    def attach(self) -> None:
        """Attaches the hooks."""
        self._hooks.attach(self._layers, ())

    def detach(self) -> None:
        """Removes the hooks; may be called any number of times."""
        self._hooks.sweep()

    def _note(self, name: str, output: Any) -> None:
        for path, tensor in floating_tensors(output):
            if tensor.numel():
                self.add(name + path, largest_magnitude(tensor))

    def add(self, place: str, largest: Tensor) -> None:
        """Adds the largest magnitude of one call, or of a tensor of one batch of an accumulation."""
        if place in self.largest:
            largest = torch.maximum(self.largest[place], largest)
        self.largest[place] = largest


def largest_magnitude(values: Tensor) -> Tensor:
    """Returns the `()` largest magnitude of a tensor; NaN where there is any.

    On an accelerator by one kernel, the infinity norm, which takes twenty times longer on the CPU. There the copy that
    `abs` makes of a large tensor takes longer than all else; `aminmax` makes none, but is slow where values are not
    contiguous.
    """
    values = values.detach()
    if not is_readable(values):
        return torch.linalg.vector_norm(values, float("inf"))
    if values.numel() >= LARGE and values.is_contiguous():
        lowest, highest = torch.aminmax(values)
        return torch.maximum(highest, -lowest)
    return values.abs().amax()


def choose(root: nn.Module, patterns: Sequence[str] | None) -> dict[str, nn.Module]:
    """Returns the layers whose outputs are measured.

    Args:
        root: The model.
        patterns: Shell-style patterns for names and class names; None = the layers with parameters of their own, at
            most 64, evenly spread over depth.
    """
    model = Model(root)
    layers = {
        name: layer for name, layer in model.layers.items() if layer not in model.hidden
    }
    if patterns is not None:
        return matching(layers, patterns, class_name)
    leaves = leaf_layers(layers)
    return {name: leaves[name] for name in evenly_spread(list(leaves), MOST)}
