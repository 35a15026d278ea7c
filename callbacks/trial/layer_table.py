"""LayerTable: collects the numbers of all layers in a trial."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from glob import escape
from statistics import median
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from .._instrument import Instrument, Number
from .._lightning import LightningModule, Trainer
from ..measure.activations import FUNCTIONS
from ..measure.moments import Moments, log10_ratio
from ..measure.saturation import Saturation
from ..measure.statistic import MomentsOf, SaturationOf
from ..probe.measurements import Measurements
from ..probe.request import Quantity, Request, Scope
from ..probe.selection import (
    activation_layers,
    class_name,
    leaf_layers,
    named_layers,
    named_params,
    unwrapped,
)
from .layer_row import LayerRow


@dataclass
class LayerNumbers:
    """Measurements of one layer or parameter, as they come.

    Attributes:
        first: Statistics of the first step that has them.
        flat: Saturation of the first step.
        saturation: Pooled over all steps, for its dead units.
        ratios: Update ratios of all steps.
    """

    first: dict[Quantity, Any] = field(default_factory=dict)
    flat: Saturation | None = None
    saturation: Saturation | None = None
    ratios: list[float] = field(default_factory=list)


class LayerTable(Instrument):
    """Numbers of every layer with parameters, and of every activation, in the order of their calls.

    Attributes:
        initial_loss: Loss of the first step; None where there were several.
        losses: Loss of each step that has one.
        weights: Name of the weight of each layer.
    """

    def __init__(self) -> None:
        super().__init__(every_n_steps=1, figures=False)
        self.initial_loss: float | None = None
        self.losses: list[float] = []
        self.weights: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._rows: dict[str, tuple[str, str]] = {}
        self._numbers: dict[str, LayerNumbers] = {}
        self._requests: dict[str, Request] = {}

    @property
    def requests(self) -> list[Request]:
        return list(self._requests.values())

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        layers = observed_layers(pl_module)
        self.weights = {
            name: weight
            for name in layers
            if (weight := weight_of(name, named_params(pl_module))) is not None
        }
        self._requests = requests_for(layers, self.weights.values())
        super().on_fit_start(trainer, pl_module)

    def record(self, measurements: Measurements) -> dict[str, Number]:
        self._read_loss(measurements)
        for request in self._requests.values():
            for name, result in measurements.of(request).items():
                self._add(request, name, result)
        updated = measurements.of(self._requests["updated"])
        for name, change in measurements.of(self._requests["update"]).items():
            ratio = log10_ratio(change, updated[name]) if name in updated else None
            if ratio is not None and self._had_spread(name):
                self._numbers[name].ratios.append(ratio)
        self._note_layers(measurements)
        return {}

    def what_is_missing(self, measurements: Measurements) -> str | None:
        return None

    def _had_spread(self, name: str) -> bool:
        """True if not all elements of a parameter were equal at first, as of a norm: its own size then says nothing."""
        weight: Moments | None = self._numbers[name].first.get(Quantity.WEIGHT)
        return weight is not None and bool(weight.std)

    def _read_loss(self, measurements: Measurements) -> None:
        loss: Moments | None = measurements.get(Quantity.LOSS, "", MomentsOf())
        root: Any = measurements.plan.model.root
        losses = 0 if loss is None else loss.count + loss.nonfinite
        is_mean = root.automatic_optimization or losses == 1
        mean = mean_of(loss) if loss is not None and is_mean else None
        if not self._numbers:
            self.initial_loss = mean
        if mean is not None:
            self.losses.append(mean)

    def _add(self, request: Request, name: str, result: Any) -> None:
        numbers = self._numbers.setdefault(name, LayerNumbers())
        if isinstance(result, Saturation):
            before = numbers.saturation
            numbers.saturation = result if before is None else before + result
            numbers.flat = numbers.flat or result
        else:
            numbers.first.setdefault(request.quantity, result)

    def _note_layers(self, measurements: Measurements) -> None:
        """Notes the layer and the class behind each display name, in the order of the calls."""
        if self._fit is not None:
            self.shapes |= self._fit.probe.context.shapes
        layers = measurements.plan.model.layers
        for name in measurements.of(self._requests["activation"]):
            origin = measurements.origins[name]
            kind = origin.kind or class_name(layers[origin.layer])
            layer = name if origin.kind else origin.layer
            self._rows.setdefault(name, (layer, kind))

    def rows(self, severities: Mapping[str, str]) -> tuple[LayerRow, ...]:
        """Returns a row a layer.

        Args:
            severities: Worst severity of the findings, by name of a layer or parameter.
        """
        rows = []
        with_weight: set[str] = set()
        for name, (layer, kind) in self._rows.items():
            # Of a layer with several outputs, the first has the weight's numbers.
            weight = None if layer in with_weight else self.weights.get(layer)
            with_weight.add(layer)
            rows.append(self._row(name, layer, kind, weight, severities))
        return tuple(rows)

    def _row(
        self,
        name: str,
        layer: str,
        kind: str,
        weight: str | None,
        severities: Mapping[str, str],
    ) -> LayerRow:
        numbers = self._numbers[name]
        output: Moments = numbers.first.get(Quantity.ACTIVATION, Moments())
        gradient: Moments = numbers.first.get(Quantity.ACTIVATION_GRAD, Moments())
        flat, pooled = numbers.flat, numbers.saturation
        param = self._numbers.get(weight or "", LayerNumbers())
        return LayerRow(
            name,
            kind,
            self.shapes.get(name),
            mean_of(output),
            std_of(output),
            None if flat is None else flat.fraction,
            None if pooled is None else pooled.dead_units,
            std_of(gradient),
            weight,
            grad_data(param),
            median(param.ratios) if param.ratios else None,
            verdict_of(name, layer, severities),
        )


def observed_layers(root: nn.Module) -> dict[str, nn.Module]:
    """Returns the activation modules, and the modules that have parameters of their own, by name."""
    layers = named_layers(root)
    leaves, activations = leaf_layers(layers), activation_layers(layers)
    return {
        name: layer
        for name, layer in layers.items()
        if name in leaves or name in activations or _has_own_parameters(name, layer)
    }


def _has_own_parameters(name: str, layer: nn.Module) -> bool:
    own = any(True for _ in unwrapped(layer).parameters(recurse=False))
    is_list = isinstance(layer, nn.ParameterList | nn.ParameterDict)
    return own and not is_list and ".parametrizations." not in name


def weight_of(layer: str, params: Mapping[str, nn.Parameter]) -> str | None:
    """Returns the name of a layer's parameter of two and more axes; of several the first; else of its `weight`."""
    own = [name for name in params if owner_of(name) == layer]
    matrices = [name for name in own if is_lazy(params[name]) or params[name].ndim >= 2]
    vectors = [name for name in own if name.endswith(".weight")]
    return next(iter([*matrices, *vectors]), None)


def owner_of(param: str) -> str:
    """Returns the name of the layer that a parameter belongs to.

    Example:
        >>> owner_of("net.0.weight"), owner_of("net.0.parametrizations.weight.original")
        ('net.0', 'net.0')
    """
    name, is_parametrized, _ = param.partition(".parametrizations.")
    return name if is_parametrized else param.rpartition(".")[0]


def requests_for(layers: Mapping[str, nn.Module], weights: Any) -> dict[str, Request]:
    """Returns the requests of a table: of layers by name, and of all activation functions."""
    functions = dict.fromkeys(FUNCTIONS.values())
    patterns = (*map(escape, layers), *functions)
    params = tuple(map(escape, weights))
    flat = SaturationOf()
    moments = MomentsOf()
    return {
        "activation": Request(Quantity.ACTIVATION, moments, patterns),
        "saturation": Request(Quantity.ACTIVATION, flat, patterns, Scope.ACTIVATIONS),
        "gradient": Request(Quantity.ACTIVATION_GRAD, moments, patterns),
        "weight": Request(Quantity.WEIGHT, moments, params),
        "weight_grad": Request(Quantity.WEIGHT_GRAD, moments, params),
        "update": Request(Quantity.UPDATE, moments, params),
        "updated": Request(Quantity.UPDATED, moments, params),
    }


def mean_of(moments: Moments) -> float | None:
    """Returns the mean of the finite values; NaN if there are only others, None if there are no values."""
    if moments.count:
        return moments.mean
    return math.nan if moments.nonfinite else None


def std_of(moments: Moments) -> float | None:
    """Returns the standard deviation; NaN and None as of `mean_of`."""
    is_nan = moments.nonfinite and not moments.count
    return math.nan if is_nan else moments.std


def grad_data(param: LayerNumbers) -> float | None:
    """Returns std(gradient) / std(parameter); None where there is no such ratio."""
    gradient: Moments = param.first.get(Quantity.WEIGHT_GRAD, Moments())
    weight: Moments = param.first.get(Quantity.WEIGHT, Moments())
    if gradient.std is None or not weight.std:
        return None
    return gradient.std / weight.std


def verdict_of(name: str, layer: str, severities: Mapping[str, str]) -> str:
    """Returns the worst severity in a layer and its parameters."""
    order = ("ok", "warn", "fail")
    worst = "ok"
    for place, severity in severities.items():
        if place in (name, layer) or owner_of(place) == layer:
            worst = max(worst, severity, key=order.index)
    return worst
