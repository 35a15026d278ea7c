"""Rules of a loss function's input: what it is applied to, and whether the output can take the targets."""

import math
from collections.abc import Iterator

from .course import Course
from .observation import LossFunction
from .rule import Rule, Violation


def loss_input(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges what a loss function is applied to: logits, or probabilities."""
    for loss in course.latest.losses:
        if loss.is_broadcast:
            message = f"{loss.name} compares each output with several targets: their shapes differ."
            yield Violation("", "warn", message, None, None, SAME_SHAPE)
        logits = loss.name.startswith(
            ("cross_entropy", "binary_cross_entropy_with_logits")
        )
        if not loss.is_normalized and _is_far_from_one(loss):
            yield Violation(
                "",
                "fail",
                "nll_loss is applied to numbers that are no log-probabilities, so that it can fall without end.",
                None if loss.mass is None else loss.mass[1],
                1.0,
                "Apply cross_entropy to the logits, or nll_loss to their log_softmax.",
            )
        elif logits and loss.activation in ("softmax", "sigmoid"):
            name = loss.name.rstrip("_0123456789")
            message = f"{name} takes logits, and is applied to the output of a {loss.activation}: it is applied twice."
            yield Violation("", "warn", message)


SAME_SHAPE = "Give outputs and targets one shape: squeeze(-1) of (n, 1), or unsqueeze(-1) of (n,)."


def _is_far_from_one(loss: LossFunction) -> bool:
    return loss.mass is not None and (loss.mass[0] < 0.5 or loss.mass[1] > 2)


def output_activation(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges activations between the last layer and a loss: their range has to be that of logits or targets."""
    yield from _unreachable_targets(course)
    for loss in course.latest.losses:
        takes_logits = (
            "cross_entropy" in loss.name and loss.name != "binary_cross_entropy"
        )
        if takes_logits and loss.activation in ("ReLU", "Tanh", "Hardtanh"):
            places = [
                name
                for name, layer in course.latest.layers.items()
                if layer.is_output and layer.kind == loss.activation
            ]
            message = (
                f"The logits of the cross entropy are outputs of a {loss.activation}, "
                "which cannot take every value."
            )
            yield Violation(places[-1] if places else "", "warn", message)


RANGES = {
    "ReLU": (0.0, math.inf),
    "Tanh": (-1.0, 1.0),
    "Hardtanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
}
"""Values of activations at the end of a model."""

MARGIN = 0.1
"""Distance from the range at which a target is out of reach."""


def _unreachable_targets(course: Course) -> Iterator[Violation]:
    """Finds regressions with targets that the activation of the output cannot take."""
    for loss in course.latest.losses:
        low, high = RANGES.get(loss.activation or "", (-math.inf, math.inf))
        targets = loss.targets
        if targets is None:
            continue
        # A few outliers are no reason: a standard deviation from the mean has to be outside.
        below = min(low - MARGIN - targets.low, low - (targets.mean - targets.std))
        above = min(targets.high - high - MARGIN, targets.mean + targets.std - high)
        if max(below, above) > 0:
            message = (
                f"The outputs come from a {loss.activation}, and the targets, from "
                f"{targets.low:.3g} to {targets.high:.3g}, are not all in its range."
            )
            remedy = "Remove the activation after the last layer, or scale the targets to its range."
            yield Violation("", "warn", message, None, None, remedy)
