"""Observation of a due step for the rules of HealthCheck."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch.optim import Optimizer

from ..health.observation import (
    Input,
    LossFunction,
    Nonfinite,
    Observation,
    Targets,
)
from ..measure.statistic import MomentsOf
from ..probe.measurements import Measurements
from ..probe.request import Quantity
from ..probe.selection import class_name
from ..probe.structure import Structure
from .clipping import clipping_of
from .health_requests import HealthRequests
from .observed_layers import layers_of
from .observed_model import (
    compare_params,
    dropped_fractions,
    modules_in_eval_mode,
    norms_of_one_value,
    stacked_of,
    unregistered_of,
)
from .observed_params import params_of

MOMENTS = MomentsOf()


@dataclass(frozen=True)
class Facts:
    """Facts of a step that are not measured.

    Attributes:
        past_losses: Number of losses since the last due step, before this one.
        optimizers: Optimizers of the fit.
        has_single_loss: Whether optimization is automatic.
        clip: Largest gradient norm that the Trainer lets through; None without clipping by norm.
        last_step: Last step of the fit; None where that is unknown.
    """

    past_losses: int
    optimizers: Sequence[Optimizer]
    has_single_loss: bool
    clip: float | None
    last_step: int | None = None


def observe_step(
    measurements: Measurements, requests: HealthRequests, facts: Facts, is_first: bool
) -> Observation:
    """Returns what the rules read of a due step."""
    model = measurements.plan.model
    structure = measurements.structure or Structure()
    clipping = clipping_of(measurements)
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
        unregistered_of(structure, facts.optimizers),
        dropped_fractions(model),
        modules_in_eval_mode(model),
        dict(structure.normalized_rows),
        norms_of_one_value(model) if is_first else {},
        clipping.before,
        facts.clip,
        clipping.is_active,
        measurements.scaled,
        measurements.was_skipped,
        place,
        facts.has_single_loss,
        (measurements.step + 1) / (facts.last_step + 1) if facts.last_step else None,
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
                term.is_broadcast,
                value.mean if value is not None and value.count else None,
                (mass.low, mass.high) if mass is not None and mass.count else None,
                targets_of(measurements, term.name),
            )
        )
    return tuple(losses)


def targets_of(measurements: Measurements, term: str) -> Targets | None:
    """Returns the targets of a loss function; None where it has no floating point ones."""
    moments = measurements.get(Quantity.LOSS_TERM, f"targets of {term}", MOMENTS)
    if moments is None or not moments.count:
        return None
    return Targets(moments.mean, moments.std or 0.0, moments.low, moments.high)


def first_nonfinite(measurements: Measurements) -> Nonfinite | None:
    """Returns the first place with NaN or infinities; None without any."""
    first = measurements.first_nonfinite()
    if first is None:
        return None
    key, count = first
    place = key.quantity.of(key.name)
    message = (
        f"NaN or Inf in step {measurements.step}, first in the {place}: {count} values."
    )
    return Nonfinite(key.name, message, count)
