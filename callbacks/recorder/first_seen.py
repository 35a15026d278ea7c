"""Analysis of the numbers of the last steps: the step and the place at which something was out of line first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from .rows import Numbers

LEAST = 3
"""Steps before the one that is judged, so that there is a median."""

Name = TypeVar("Name")

OUT_OF_LINE = 8.0
"""Factor over the median of the steps before, and over the largest of them, that is out of line."""


@dataclass(frozen=True)
class FirstSeen:
    """Step and place at which something was out of line first.

    Attributes:
        step: Step on the axis of all plots.
        where: Name of a layer or parameter; "batch" for the batch, "" for the loss or the model itself.
        message: One sentence.
    """

    step: int
    where: str
    message: str


def first_jump(numbers: Sequence[Numbers]) -> FirstSeen | None:
    """Returns what was out of line first in the last steps; None if nothing was.

    The search goes back from the last step as long as the step before is out of line, too: a gradient that jumped in
    one step makes the loss of the next one jump.

    Args:
        numbers: Numbers of consecutive steps, the last of which is the one that something was noticed in.
    """
    first: FirstSeen | None = None
    for index in range(len(numbers) - 1, LEAST - 1, -1):
        jump = _jump_in(numbers[index], numbers[:index])
        if jump is None:
            break
        first = jump
    return first


def first_nonfinite(
    numbers: Sequence[Numbers], with_gradients: bool = True
) -> FirstSeen | None:
    """Returns the first number that is not finite: of outputs in forward order, then of gradients in backward order.

    The search goes back from the last step as long as the steps have such numbers: an older one has done no harm.
    Outputs that were not finite in the step before these, as a mask is not, are left out.

    Args:
        numbers: Numbers of consecutive steps, the last of which is the one that something was noticed in.
        with_gradients: Whether gradients are meant, too.
    """
    first: FirstSeen | None = None
    for index in reversed(range(len(numbers))):
        before = numbers[index - 1] if index else None
        is_sound = before is not None and has_finite_result(before)
        usual = nonfinite(before.magnitudes) if before and is_sound else []
        place = _nonfinite_in(numbers[index], usual, with_gradients)
        first = place or first
        if place is None or is_sound:
            break
    return first


def has_finite_result(numbers: Numbers) -> bool:
    """True if a step has a loss, and that and its gradients are finite."""
    is_finite = numbers.loss is not None and math.isfinite(numbers.loss)
    return is_finite and not nonfinite(numbers.gradients)


def nonfinite(values: Mapping[str, float]) -> list[str]:
    """Returns the names of the numbers that are not finite."""
    return [name for name, value in values.items() if not math.isfinite(value)]


def _nonfinite_in(
    numbers: Numbers, usual: Sequence[str], with_gradients: bool
) -> FirstSeen | None:
    """Returns the first number of a step that is not finite, but for the usual ones."""
    step = numbers.step
    for name in nonfinite(numbers.magnitudes):
        if name not in usual:
            message = f"NaN or Inf in step {step}, first in the output of {name}."
            return FirstSeen(step, name, message)
    if with_gradients and (names := nonfinite(numbers.gradients)):
        message = f"NaN or Inf in step {step}, first in the gradient of {names[-1]}."
        return FirstSeen(step, names[-1], message)
    return None


def _jump_in(step: Numbers, before: Sequence[Numbers]) -> FirstSeen | None:
    """Judges one step beside those before: outputs in forward order first, then gradients in backward order."""
    outputs = jumps(step.magnitudes, [each.magnitudes for each in before])
    for name in step.magnitudes:
        if name in outputs:
            return _of_output(step.step, name, step.magnitudes[name], outputs[name])
    gradients = jumps(step.gradients, [each.gradients for each in before])
    for name in reversed(step.gradients):
        if name in gradients:
            return _of_gradient(step.step, name, step.gradients[name], gradients[name])
    return _jump_of_rate(step, before)


def _jump_of_rate(step: Numbers, before: Sequence[Numbers]) -> FirstSeen | None:
    """Judges the learning rates, which move the outputs of the step after."""
    past = [dict(enumerate(each.learning_rates)) for each in before]
    rates = dict(enumerate(step.learning_rates))
    for index, factor in jumps(rates, past).items():
        message = (
            f"The learning rate jumped in step {step.step}: {rates[index]:.4g} is {factor:.3g} times the median of the "
            "steps before."
        )
        return FirstSeen(step.step, "", message)
    return None


def jumps(
    values: Mapping[Name, float], before: Sequence[Mapping[Name, float]]
) -> dict[Name, float]:
    """Returns the numbers that are out of line, as multiples of their median in the steps before.

    Example:
        >>> jumps({"a": 50.0, "b": 1.0}, [{"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 2.0}])
        {'a': 33.333333333333336}
    """
    factors = {}
    for name, value in values.items():
        past = [
            each[name] for each in before if math.isfinite(each.get(name, math.nan))
        ]
        largest = max(past, default=0.0)
        if largest > 0 and (not value <= OUT_OF_LINE * largest):
            usual = median(past)
            factors[name] = value / usual if usual else math.inf
    return factors


def _of_output(step: int, name: str, value: float, factor: float) -> FirstSeen:
    is_batch = name.split(".")[0] == "batch"
    place = f"tensor {name[6:]} of the batch" if is_batch else f"output of {name}"
    message = (
        f"The {place} jumped in step {step}: its largest magnitude, {value:.4g}, is {factor:.3g} times "
        "the median of the steps before."
    )
    return FirstSeen(step, name, message)


def _of_gradient(step: int, name: str, value: float, factor: float) -> FirstSeen:
    message = (
        f"The gradient of {name} jumped in step {step}: its norm, {value:.4g}, is {factor:.3g} times the median of "
        "the steps before."
    )
    return FirstSeen(step, name, message)
