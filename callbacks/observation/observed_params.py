"""Parameters of a due step, as the rules of HealthCheck read them."""

from collections.abc import Container, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ..health.observation import Parameter
from ..measure.moments import Moments, log10_ratio
from ..probe.measurements import Measurements
from ..probe.unmoved import is_rounded, why_unmoved
from .health_requests import HealthRequests
from .observed_layers import std_of

HALVES = (torch.bfloat16, torch.float16)


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


def are_settled(
    measurements: Measurements, requests: HealthRequests, moved: Container[str]
) -> bool:
    """True once each trained parameter has moved, and nothing else about it can change unseen.

    Updates can be rounded away by a type of half precision at any time, and under a gradient scaler nothing but these
    measurements tells where a NaN began.
    """
    params = measurements.plan.model.params
    gradients = measurements.of(requests.weight_grads)
    if gradients and not any(each.magnitude for each in gradients.values()):
        return False  # only weight decay moves them
    return not measurements.scaled and all(
        name in moved and param.dtype not in HALVES
        for name, param in params.items()
        if param.requires_grad
    )


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
    return Parameter(
        measurements.plan.model.kinds.get(name.rpartition(".")[0], ""),
        param.ndim,
        param.requires_grad,
        std_of(weight),
        fingerprint_of(weight),
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
    if dtype not in HALVES or not (step and weight and gradient):
        return False
    change = step.expected_change(gradient.std or gradient.magnitude)
    typical = weight.norm / max(weight.count, 1) ** 0.5
    return bool(change) and is_rounded(change or 0.0, typical, dtype)
