"""Observation of a due step for the rules of HealthCheck, made of the probe's measurements and facts of the model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from .health.observation import (
    Input,
    Layer,
    LossFunction,
    Nonfinite,
    Observation,
    Parameter,
)
from .measure.activations import DEFAULTS, activation_of_module
from .measure.moments import Moments, log10_ratio
from .measure.saturation import Saturation
from .measure.statistic import MomentsOf, SaturationOf
from .probe.measurements import BACKWARD, Measurements
from .probe.names import Origin
from .probe.request import Quantity, Request, Scope, as_patterns
from .probe.selection import class_name, repeated_blocks, unwrapped
from .probe.structure import Structure
from .probe.unmoved import is_rounded, why_unmoved

MOMENTS = MomentsOf()


@dataclass(frozen=True)
class HealthRequests:
    """Measurements that the rules need.

    Args:
        layers: Patterns of layers; None = the default choice.
        params: Patterns of parameters; None = the default choice.
    """

    layers: list[str] | None = None
    params: list[str] | None = None
    activations: Request = field(init=False)
    gradients: Request = field(init=False)
    saturations: Request = field(init=False)
    blocks: Request = field(init=False)
    block_gradients: Request = field(init=False)
    weights: Request = field(init=False)
    weight_grads: Request = field(init=False)
    updates: Request = field(init=False)
    updated: Request = field(init=False)
    rows: Request = field(init=False)
    leftovers: Request = field(init=False)
    copies: Request = field(init=False)
    inputs: Request = field(init=False)
    loss_terms: Request = field(init=False)

    def __post_init__(self) -> None:
        layers, params = as_patterns(self.layers), as_patterns(self.params)
        of_all = partial(Request, statistic=MOMENTS, scope=Scope.ALL)
        of_blocks = partial(Request, statistic=MOMENTS, scope=Scope.BLOCKS)
        saturation = SaturationOf()
        requests = {
            "activations": Request(Quantity.ACTIVATION, MOMENTS, layers),
            "gradients": Request(Quantity.ACTIVATION_GRAD, MOMENTS, layers),
            "saturations": Request(
                Quantity.ACTIVATION, saturation, layers, Scope.ACTIVATIONS
            ),
            "blocks": of_blocks(Quantity.ACTIVATION),
            "block_gradients": of_blocks(Quantity.ACTIVATION_GRAD),
            "weights": of_all(Quantity.WEIGHT),
            "weight_grads": of_all(Quantity.WEIGHT_GRAD),
            "updates": Request(Quantity.UPDATE, MOMENTS, params),
            "updated": Request(Quantity.UPDATED, MOMENTS, params),
            "rows": Request(Quantity.ROWS, MOMENTS, params),
            "leftovers": of_all(Quantity.LEFTOVER),
            "copies": of_all(Quantity.COPIES),
            "inputs": Request(Quantity.INPUT, MOMENTS),
            "loss_terms": Request(Quantity.LOSS_TERM, MOMENTS),
        }
        for name, request in requests.items():
            object.__setattr__(self, name, request)

    def due(self, is_first: bool, is_early: bool) -> list[Request]:
        """Returns the requests of a due step.

        Args:
            is_first: Whether it is the first of a fit, when structure and inputs are read.
            is_early: Whether it is among the first, when symmetry is judged.
        """
        always = [
            *(self.activations, self.gradients, self.saturations),
            *(self.blocks, self.block_gradients),
            *(self.weights, self.weight_grads, self.updates, self.updated),
            *(self.leftovers, self.copies),
        ]
        early = [self.rows] if is_early else []
        first = [self.inputs, self.loss_terms] if is_first else []
        return always + early + first


@dataclass(frozen=True)
class Facts:
    """Facts of a step that are not measured.

    Attributes:
        past_losses: Number of losses since the last due step, before this one.
        optimizers: Optimizers of the fit.
        has_single_loss: Whether optimization is automatic.
        clip: Largest gradient norm that the Trainer lets through; None without clipping by norm.
    """

    past_losses: int
    optimizers: Sequence[Optimizer]
    has_single_loss: bool
    clip: float | None


def observe_step(
    measurements: Measurements, requests: HealthRequests, facts: Facts, is_first: bool
) -> Observation:
    """Returns what the rules read of a due step."""
    model = measurements.plan.model
    structure = measurements.structure or Structure()
    norms = measurements.of(requests.weight_grads).values()
    unoptimized, foreign = compare_params(model.params, facts.optimizers)
    place = first_nonfinite(measurements)
    return Observation(
        measurements.step,
        mean_loss(measurements, facts),
        layers_of(measurements, requests, structure, len(facts.optimizers)),
        params_of(measurements, requests),
        inputs_of(measurements, requests) if is_first else {},
        losses_of(measurements, structure) if is_first else (),
        stacked_of(structure, model.layers) if is_first else (),
        structure.biases_before_norms if is_first else (),
        tuple(type(optimizer).__name__ for optimizer in facts.optimizers),
        unoptimized,
        foreign,
        modules_in_eval_mode(model.root, model.layers),
        dict(structure.normalized_rows),
        sum(each.norm**2 for each in norms) ** 0.5 if norms else None,
        facts.clip,
        measurements.scaled,
        measurements.was_skipped,
        place,
        facts.has_single_loss,
    )


def mean_loss(measurements: Measurements, facts: Facts) -> float | None:
    """Returns the mean loss since the last due step; None where there is no single loss, or it is not finite."""
    loss = measurements.get(Quantity.LOSS, "", MOMENTS)
    past = measurements.get(Quantity.PAST_LOSS, "", MOMENTS)
    if not facts.has_single_loss or loss is None or not loss.count:
        return None
    if past is None or not past.count:
        return loss.mean
    return (past.mean * facts.past_losses + loss.mean) / (facts.past_losses + 1)


def layers_of(
    measurements: Measurements,
    requests: HealthRequests,
    structure: Structure,
    optimizers: int,
) -> dict[str, Layer]:
    """Returns the observed layers, activations first, then repeated blocks, each in the order of their calls."""
    gradients = measurements.of(requests.gradients)
    saturations = measurements.of(requests.saturations)
    is_split = optimizers > 1
    ends = last_of_networks(measurements) if is_split else set()
    blocks = list(repeated_blocks(measurements.plan.model.layers))
    layers: dict[str, Layer] = {}
    for name, moments in measurements.of(requests.activations).items():
        origin = measurements.origins[name]
        saturation = saturations.get(name)
        kind = kind_of(origin, measurements)
        group, is_in_block = group_of(origin, kind, blocks, is_split)
        layers[name] = Layer(
            kind,
            group,
            is_in_block=is_in_block,
            is_output=name in structure.output_layers or name in ends,
            is_gate=name in structure.gates,
            std=moments.std,
            grad_norm=norm_of(gradients.get(name)),
            low=moments.low,
            high=moments.high,
            **saturation_fields(saturation),
        )
    return layers | blocks_of(measurements, requests)


def saturation_fields(saturation: Saturation | None) -> dict[str, Any]:
    """Returns the fields of a `Layer` that come from its saturation."""
    if saturation is None:
        return {}
    units = max(saturation.units, 1)
    return {
        "saturated": saturation.fraction,
        "is_switched": saturation.off is not None,
        "dead": saturation.dead,
        "examples": saturation.count // units,
    }


def blocks_of(measurements: Measurements, requests: HealthRequests) -> dict[str, Layer]:
    """Returns the repeated blocks; their outputs are the residual stream of a transformer or a ResNet."""
    gradients = measurements.of(requests.block_gradients)
    layers: dict[str, Layer] = {}
    for name, moments in measurements.of(requests.blocks).items():
        origin = measurements.origins[name]
        layer = measurements.plan.model.layers.get(origin.layer)
        kind = "" if layer is None else class_name(layer)
        group = f"{origin.layer.rpartition('.')[0]}/{kind}{origin.member}"
        layers[name] = Layer(
            kind,
            group,
            is_block=True,
            std=moments.std,
            grad_norm=norm_of(gradients.get(name)),
            low=moments.low,
            high=moments.high,
        )
    return layers


def std_of(moments: Moments | None) -> float | None:
    """Returns the standard deviation; None where nothing was measured."""
    return None if moments is None else moments.std


def norm_of(moments: Moments | None) -> float | None:
    """Returns the L2 norm, which good initializations keep from layer to layer; None where nothing was measured."""
    return None if moments is None else moments.norm


def group_of(
    origin: Origin, kind: str, blocks: Iterable[str], is_split: bool
) -> tuple[str, bool]:
    """Returns the name of the layers that an activation can be compared with, and whether it is inside a block.

    Args:
        origin: Place of the activation.
        kind: Its `torch.nn` name.
        blocks: Names of the repeated blocks: activations of a branch are compared with those of other branches.
        is_split: Whether there are several networks, each with an optimizer.
    """
    if kind not in DEFAULTS:
        return "", False
    network = origin.layer.partition(".")[0] if is_split else ""
    for block in blocks:
        if origin.layer == block or origin.layer.startswith(f"{block}."):
            inside = origin.layer[len(block) :]
            return f"{network} {kind} in blocks{inside} {origin.member}", True
    return f"{network} {kind}", False


def kind_of(origin: Origin, measurements: Measurements) -> str:
    """Returns the `torch.nn` name of an activation, or the class name of another layer."""
    layer = measurements.plan.model.layers.get(origin.layer)
    if origin.kind or layer is None:
        return origin.kind
    activation = activation_of_module(unwrapped(layer))
    return class_name(layer) if activation is None else activation.kind


def last_of_networks(measurements: Measurements) -> set[str]:
    """Returns the activations that end one of several networks, such as the tanh of a GAN's generator."""
    root = measurements.plan.model.root
    networks = {
        name: child
        for name, child in root.named_children()
        if any(param.ndim > 1 for param in child.parameters())
    }
    ends = set()
    for name, child in networks.items() if len(networks) > 1 else ():
        leaves = [
            path
            for path, module in child.named_modules()
            if not list(module.children())
        ]
        ends |= {f"{name}.{leaves[-1]}"} if leaves else set()
    return ends


def params_of(
    measurements: Measurements, requests: HealthRequests
) -> dict[str, Parameter]:
    """Returns all floating point parameters."""
    tables = ParameterTables(
        measurements.of(requests.weights),
        measurements.of(requests.weight_grads),
        measurements.of(requests.updates),
        measurements.of(requests.updated),
        measurements.of(requests.rows),
        measurements.of(requests.leftovers),
        measurements.of(requests.copies),
    )
    model = measurements.plan.model
    return {
        name: parameter_of(name, param, tables, measurements)
        for name, param in model.params.items()
        if param.is_floating_point()
    }


@dataclass(frozen=True)
class ParameterTables:
    """Moments of parameters, by name."""

    weights: Mapping[str, Moments]
    gradients: Mapping[str, Moments]
    updates: Mapping[str, Moments]
    updated: Mapping[str, Moments]
    rows: Mapping[str, Moments]
    leftovers: Mapping[str, Moments]
    copies: Mapping[str, Moments]


def parameter_of(
    name: str, param: nn.Parameter, tables: ParameterTables, measurements: Measurements
) -> Parameter:
    """Returns one parameter."""
    weight, gradient = tables.weights.get(name), tables.gradients.get(name)
    update, updated = tables.updates.get(name), tables.updated.get(name)
    ratio = None if not update or not updated else log10_ratio(update, updated)
    leftover, copies = tables.leftovers.get(name), tables.copies.get(name)
    rows = tables.rows.get(name)
    step = measurements.parameter_steps.get(name)
    owner = measurements.plan.model.layers.get(name.rpartition(".")[0])
    return Parameter(
        "" if owner is None else class_name(owner),
        param.ndim,
        param.requires_grad,
        std_of(weight),
        fingerprint_of(weight),
        std_of(gradient),
        gradient is not None or param.grad is not None,
        gradient is not None and gradient.magnitude == 0 and not gradient.nonfinite,
        ratio,
        None if update is None else update.magnitude > 0,
        why_unmoved(name, measurements) if update and ratio is None else "",
        step.rate if step and isinstance(step.rate, int | float) else None,
        is_coarse(name, param.dtype, weight, gradient, measurements),
        rows.mean if rows else None,
        leftover.low if leftover and step and step.returned else None,
        (copies.low, copies.high) if copies else None,
    )


def fingerprint_of(weight: Moments | None) -> tuple[float, ...] | None:
    """Returns numbers that change with a parameter; None of one that was not measured, or is not finite."""
    if weight is None or weight.nonfinite:
        return None
    return weight.mean, weight.squares, weight.low, weight.high


def is_coarse(
    name: str,
    dtype: torch.dtype,
    weight: Moments | None,
    gradient: Moments | None,
    measurements: Measurements,
) -> bool:
    """True if the update of a typical element is rounded away by the parameter's type."""
    step = measurements.parameter_steps.get(name)
    if dtype not in (torch.bfloat16, torch.float16) or not (
        step and weight and gradient
    ):
        return False
    change = step.expected_change(gradient.std or gradient.magnitude)
    typical = weight.norm / max(weight.count, 1) ** 0.5
    return bool(change) and is_rounded(change or 0.0, typical, dtype)


def inputs_of(measurements: Measurements, requests: HealthRequests) -> dict[str, Input]:
    """Returns the floating point input of the first layer, if the first layer takes one."""
    inputs = {}
    for name, moments in measurements.of(requests.inputs).items():
        layer = measurements.plan.model.layers.get(name)
        is_norm = layer is not None and "Norm" in class_name(layer)
        if moments.count:
            inputs[name] = Input(moments.mean, moments.std, is_norm)
    return inputs


def losses_of(
    measurements: Measurements, structure: Structure
) -> tuple[LossFunction, ...]:
    """Returns the loss functions with what was measured of them."""
    losses = []
    for term in structure.terms:
        value = measurements.get(Quantity.LOSS_TERM, f"value of {term.name}", MOMENTS)
        mass = measurements.get(Quantity.LOSS_TERM, f"mass of {term.name}", MOMENTS)
        losses.append(
            LossFunction(
                term.name,
                term.classes,
                term.activation,
                term.is_normalized,
                value.mean if value is not None and value.count else None,
                (mass.low, mass.high) if mass is not None and mass.count else None,
            )
        )
    return tuple(losses)


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
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    optimized = {id(param) for group in groups for param in group["params"]}
    known = {id(param): name for name, param in params.items()}
    missing = [
        name
        for name, param in params.items()
        if param.requires_grad and id(param) not in optimized
    ]
    return tuple(missing), len(optimized - known.keys())


def modules_in_eval_mode(
    root: nn.Module, layers: Mapping[str, nn.Module]
) -> dict[str, str]:
    """Returns dropout and BatchNorm that are in eval mode though what they belong to trains, by class name."""
    modules = {}
    for name, layer in layers.items():
        inner = unwrapped(layer)
        if inner.training:
            continue
        if isinstance(inner, nn.modules.batchnorm._BatchNorm):
            trains = any(param.requires_grad for param in inner.parameters())
        elif isinstance(inner, nn.modules.dropout._DropoutNd) and inner.p > 0:
            parent = layers.get(name.rpartition(".")[0], root)
            trains = any(param.requires_grad for param in parent.parameters())
        else:
            trains = False
        if trains:
            modules[name] = class_name(layer)
    return modules


def first_nonfinite(measurements: Measurements) -> Nonfinite | None:
    """Returns the first place with NaN or infinities; None without any but those that a scaler looks for."""
    for key, count in measurements.nonfinite():
        is_gradient = key.quantity in (*BACKWARD, Quantity.LOSS)
        if key.quantity in DERIVED or (measurements.scaled and is_gradient):
            continue
        place = key.quantity.of(key.name)
        message = f"NaN or Inf in step {measurements.step}, first in the {place}: {count} values."
        return Nonfinite(key.name, message, count)
    return None


DERIVED = (
    *(Quantity.LOSS_TERM, Quantity.ROWS, Quantity.LEFTOVER),
    *(Quantity.COPIES, Quantity.SCALE, Quantity.PAST_LOSS),
)
"""Quantities that are computed of others."""
