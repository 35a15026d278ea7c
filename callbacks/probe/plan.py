"""Plan of a due step: the statistics of each layer and parameter that the due requests ask for, each once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy

from ..measure.activations import activation_of_module, is_activation
from ..measure.flat_regions import FlatRegion, flat_region
from ..measure.statistic import SaturationOf, Statistic, covers
from .request import OF_LAYERS, OF_MODEL, Key, Quantity, Request, Scope
from .selection import (
    activation_layers,
    class_name,
    evenly_spread,
    leaf_layers,
    matches_any,
    matching,
    named_layers,
    named_params,
    repeated_blocks,
    unwrapped,
)
from .support import fast_path_modules, is_compiled, unobservable_modules

MOST = 64
"""Layers, and parameters, that are observed by default: more can hardly be read, and have to be asked for."""

Wanted = dict[Quantity, tuple[Statistic, ...]]


@dataclass
class Model:
    """Layers and parameters of a model as they are now: both can be replaced while it trains.

    Args:
        root: The model.
        lazy_names: Class names of layers from before they took a shape: patterns are for those as well.
    """

    root: nn.Module
    lazy_names: Mapping[nn.Module, str] = field(default_factory=dict)
    layers: dict[str, nn.Module] = field(init=False)
    params: dict[str, nn.Parameter] = field(init=False)
    in_compiled: set[nn.Module] = field(init=False)
    in_fast_path: set[nn.Module] = field(init=False)
    compiled: bool = field(init=False)
    blocks: dict[str, nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        modules = list(self.root.modules())
        self.layers, self.params = named_layers(self.root), named_params(self.root)
        self.in_compiled = unobservable_modules(self.root, modules)
        self.in_fast_path = fast_path_modules(modules)
        self.compiled = is_compiled(self.root, modules)
        self.blocks = repeated_blocks(self.layers)
        self._fingerprint = fingerprint(self.root)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Class name of each layer; of activations the `torch.nn` name."""
        kinds = {}
        for name, layer in self.layers.items():
            activation = activation_of_module(unwrapped(layer))
            kinds[name] = class_name(layer) if activation is None else activation.kind
        return kinds

    @cached_property
    def mode_dependent(self) -> dict[str, nn.Module]:
        """BatchNorm and dropout, without wrappers: they are of use in training mode only."""
        layers = {name: unwrapped(layer) for name, layer in self.layers.items()}
        return {
            name: layer
            for name, layer in layers.items()
            if isinstance(layer, _BatchNorm | _DropoutNd)
        }

    @property
    def hidden(self) -> set[nn.Module]:
        """Modules that hooks may not observe."""
        return self.in_compiled | self.in_fast_path

    @property
    def is_current(self) -> bool:
        """False once a layer or parameter was added, replaced, materialized, frozen or compiled."""
        return self._fingerprint == fingerprint(self.root)


def fingerprint(root: nn.Module) -> list[tuple[object, ...]]:
    """Identities of all modules and parameters, and what decides how they are observed."""
    prints: list[tuple[object, ...]] = []
    for module in root.modules():
        prints.append(
            (
                id(module),
                type(module),
                getattr(module, "_compiled_call_impl", None) is None,
            )
        )
        prints += [
            (id(param), type(param), param.requires_grad)
            for param in module._parameters.values()
            if param is not None
        ]
    return prints


@dataclass
class Plan:
    """Statistics of a due step.

    Attributes:
        model: Layers and parameters.
        requests: Due requests.
        layers: Wanted statistics by layer name.
        params: Wanted statistics by parameter name.
        regions: Where each layer is saturated, by name and threshold.
        chosen: Names of layers or parameters by request.
        observe_fallback: Whether leaf layers are observed where there are no activations.
        functions: Activation functions that the default choice was reduced to; None = all.
        fallback: Layers that are observed only in case no activation function is called.
        reduced: How many layers and parameters there are where the default choice was reduced to `MOST`.
    """

    model: Model
    requests: Sequence[Request]
    observe_fallback: bool = True
    functions: set[str] | None = None
    layers: dict[str, Wanted] = field(default_factory=dict)
    params: dict[str, Wanted] = field(default_factory=dict)
    regions: dict[tuple[str, float], FlatRegion] = field(default_factory=dict)
    chosen: dict[Request, set[str]] = field(default_factory=dict)
    fallback: set[str] = field(default_factory=set)
    reduced: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name_of_param = {
            id(param): name for name, param in self.model.params.items()
        }
        self.has_lazy = any(is_lazy(param) for param in self.model.params.values())
        for request in self.requests:
            if request.quantity in OF_MODEL:
                continue
            of_layers = request.quantity in OF_LAYERS
            names = list(
                self._choose_layers(request)
                if of_layers
                else self._choose_params(request)
            )
            self.chosen[request] = set(names)
            for name in names:
                table = self.layers if of_layers else self.params
                wanted = table.setdefault(name, {})
                wanted[request.quantity] = merge(
                    wanted.get(request.quantity, ()), request.statistic
                )

        self._keys = {
            (quantity, name): [Key(quantity, name, each) for each in statistics]
            for name, wanted in self.params.items()
            for quantity, statistics in wanted.items()
        }

    def keys_of_param(self, quantity: Quantity, name: str) -> Sequence[Key]:
        """Returns the measurements that are wanted of a parameter."""
        return self._keys.get((quantity, name), ())

    @cached_property
    def reads_structure(self) -> bool:
        """True if the graph of the loss is to be read."""
        return any(request.quantity is Quantity.LOSS_TERM for request in self.requests)

    @cached_property
    def reads_step_norm(self) -> bool:
        """True if the norm of the gradients that an optimizer takes is to be measured."""
        return any(request.quantity is Quantity.STEP_NORM for request in self.requests)

    @cached_property
    def observes_functions(self) -> bool:
        """True if calls of activation functions are observed: not where code is compiled, which would then differ."""
        for_layers = any(request.quantity in OF_LAYERS for request in self.requests)
        return for_layers and not self.model.compiled and not self.model.in_fast_path

    def accepts_function(self, request: Request, name: str, kind: str) -> bool:
        """True if a request is for the calls of an activation function of this name and `torch.nn` class name."""
        if request.quantity not in OF_LAYERS or request.quantity is Quantity.INPUT:
            return False
        if request.scope == Scope.BLOCKS:
            return False
        if request.patterns is None:
            return self.functions is None or name in self.functions
        return matches_any(request.patterns, name, kind, kind.lower())

    def statistics_of_function(self, name: str, kind: str) -> Wanted:
        """Returns the wanted statistics of the calls of an activation function."""
        wanted: Wanted = {}
        for request in self.requests:
            if self.accepts_function(request, name, kind):
                wanted[request.quantity] = merge(
                    wanted.get(request.quantity, ()), request.statistic
                )
        return wanted

    def _choose_layers(self, request: Request) -> Iterable[str]:
        layers = {
            name: layer
            for name, layer in self.model.layers.items()
            if layer not in self.model.hidden
        }
        if request.quantity is Quantity.INPUT:
            return leaf_layers(layers)
        if request.patterns is not None:
            chosen: Mapping[str, nn.Module] = self._matching(layers, request.patterns)
        elif request.scope == Scope.BLOCKS:
            blocks = [name for name in self.model.blocks if name in layers]
            return evenly_spread(blocks, MOST)
        else:
            chosen = self._reduce("layers", activation_layers(layers))
            if not chosen and request.scope == Scope.DEFAULT and self.observe_fallback:
                chosen = self._reduce("layers", leaf_layers(layers))
                self.fallback |= chosen.keys()
        if request.scope == Scope.ACTIVATIONS:
            chosen = {
                name: layer
                for name, layer in chosen.items()
                if is_activation(unwrapped(layer))
            }
        if isinstance(request.statistic, SaturationOf):
            return self._that_saturate(chosen, request.statistic.threshold)
        return chosen

    def _matching(
        self, layers: Mapping[str, nn.Module], patterns: Sequence[str]
    ) -> dict[str, nn.Module]:
        by_lazy_name = matching(
            layers, patterns, lambda layer: self.model.lazy_names.get(layer, "")
        )
        return matching(layers, patterns, class_name) | by_lazy_name

    def _that_saturate(
        self, layers: Mapping[str, nn.Module], threshold: float
    ) -> Iterable[str]:
        for name, layer in layers.items():
            region = flat_region(activation_of_module(unwrapped(layer)), threshold)
            if region is not None:
                self.regions[name, threshold] = region
                yield name

    def _choose_params(self, request: Request) -> Iterable[str]:
        params = self.model.params
        if request.scope == Scope.ALL and request.quantity is Quantity.WEIGHT_GRAD:
            return params
        real = {
            name: param for name, param in params.items() if param.is_floating_point()
        }
        if request.scope == Scope.ALL:
            return real
        if request.patterns is not None:
            return matching(real, request.patterns)
        matrices = {
            name: param
            for name, param in real.items()
            if is_lazy(param) or param.ndim >= 2
        }
        return self._reduce("params", matrices)

    def _reduce(self, argument: str, candidates: Mapping[str, Any]) -> dict[str, Any]:
        if len(candidates) > MOST:
            self.reduced[argument] = len(candidates)
        return {
            name: candidates[name] for name in evenly_spread(list(candidates), MOST)
        }


def merge(
    statistics: tuple[Statistic, ...], statistic: Statistic
) -> tuple[Statistic, ...]:
    """Adds a statistic, unless another one holds its result; drops those whose result it holds."""
    if any(covers(present, statistic) for present in statistics):
        return statistics
    return (
        *(present for present in statistics if not covers(statistic, present)),
        statistic,
    )
