"""Reasons why an update did not happen, or has no ratio."""

import math

import torch

from ..measure.moments import Moments
from ..measure.statistic import MomentsOf
from .measurements import Measurements
from .parameter_steps import ParameterStep
from .request import Quantity


def why_unmoved(name: str, measurements: Measurements) -> str:
    """Returns why an update has no ratio, in the words of `UpdateRatio.unmoved`."""
    change = measurements.get(Quantity.UPDATE, name, MomentsOf())
    if not change.count:
        return "not finite"
    if change.low < 0 or change.high > 0:
        return "no spread"
    step = measurements.parameter_steps.get(name)
    if step is None:
        return (
            "no gradient"
            if measurements.plan.model.params[name].grad is None
            else "no step"
        )
    if not step.has_gradient:
        return "no gradient"
    if isinstance(step.rate, int | float) and step.rate == 0:
        return "learning rate zero"
    if measurements.was_skipped:
        return "skipped by the gradient scaler"
    if not step.returned:
        return "no step"
    return _why_a_step_moved_nothing(step, name, measurements)


def _why_a_step_moved_nothing(
    step: ParameterStep, name: str, measurements: Measurements
) -> str:
    gradient: Moments | None = measurements.get(Quantity.STEP_GRAD, name, MomentsOf())
    if gradient is None:
        return "did not move"
    if gradient.magnitude == 0:
        return "zero gradient"
    expected = step.expected_change(gradient.magnitude)
    updated: Moments = measurements.get(Quantity.UPDATED, name, MomentsOf())
    dtype = measurements.plan.model.params[name].dtype
    rounded = expected is not None and is_rounded(expected, updated.magnitude, dtype)
    return "rounded to zero" if rounded else "did not move"


def is_rounded(change: float, magnitude: float, dtype: torch.dtype) -> bool:
    """True if a change is less than half the distance of a number from the next one of its type.

    Args:
        change: Size of the change, positive.
        magnitude: Size of the largest number that is changed.
        dtype: Floating point type of the numbers.
    """
    if magnitude == 0:
        return False
    _, exponent = math.frexp(magnitude)
    return change < math.ldexp(torch.finfo(dtype).eps, exponent - 1) / 2
