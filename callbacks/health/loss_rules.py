"""Rules of the loss: its value at initialization, its course, and what it is computed from."""

import math
from collections.abc import Iterator

from .course import Course, median
from .observation import LossFunction
from .rule import Rule, Violation

TRIAL = 200
"""Steps at the full learning rate after which a loss should have fallen."""

RECENT = 3
"""Due steps of which the lowest loss is judged: a single batch can have a large one by chance."""

PROGRESS = 0.05
"""Fraction of the loss that counts as progress."""


def initial_loss(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges the loss of the first step beside that of a model that knows nothing."""
    if course.judged > 1 or course.latest.step > 0:
        return
    for loss, expected, words in expectations(course):
        has_frozen = any(not param.trains for param in course.latest.params.values())
        limits = rule.limits["on frozen layers" if has_frozen else "ratio"]
        judged = limits.judge(loss / expected)
        if judged is not None:
            severity, limit = judged
            message = (
                f"The loss begins at {loss:.2f}, {loss / expected:.1f} times the {expected:.2f} "
                f"of {words}."
            )
            yield Violation("", severity, message, loss, limit * expected)


def expectations(course: Course) -> Iterator[tuple[float, float, str]]:
    """Yields losses of the first step, what each should be, and of which model that is the loss."""
    observation = course.latest
    if course.expected_loss is not None:
        if observation.loss is not None and course.expected_loss > 0:
            yield observation.loss, course.expected_loss, "an untrained model, as given"
        return
    for loss in observation.losses:
        if (
            loss.value is None
            or not loss.is_normalized
            or not math.isfinite(loss.value)
        ):
            continue
        if loss.classes and loss.classes > 1:
            words = f"a model that knows nothing, ln {loss.classes}"
            yield loss.value, math.log(loss.classes), words


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
    """Judges activations between the last layer and a loss that takes logits."""
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


def loss_diverges(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges whether the loss has risen above its beginning, or has lost most of what it had gained."""
    yield from _wrong_sign(course)
    losses = [each.loss for each in course.last(RECENT) if each.loss is not None]
    first = highest_beginning(course)
    if len(losses) < RECENT or first is None or not _is_positive(course):
        return
    loss = min(losses)
    judged = rule.limits["rise"].judge(loss / first)
    if judged is not None:
        severity, limit = judged
        message = f"The loss has risen to {loss:.3g}, {loss / first:.1f} times its beginning, {first:.3g}."
        yield Violation("", severity, message, loss, limit * first)


def highest_beginning(course: Course) -> float | None:
    """Returns the highest of the first losses, at most ten times the first, which may have exploded at once.

    Few examples can have a low loss by chance, several times in a row.
    """
    if course.first_loss is None:
        return None
    return min(max(course.first_losses), 10 * course.first_loss)


def beginning(course: Course) -> float | None:
    """Returns the first loss, or the median of the first ones where the first batch had a lower one by chance."""
    middle = median(course.first_losses)
    if middle is None or course.first_loss is None:
        return None
    return max(middle, course.first_loss)


def _wrong_sign(course: Course) -> Iterator[Violation]:
    """Finds a loss that is minus its only loss function."""
    loss, functions = course.latest.loss, course.latest.losses
    if loss is None or len(functions) != 1 or loss >= 0:
        return
    value = functions[0].value
    if value is not None and value > 0 and course.judged == 1:
        name = functions[0].name
        message = f"The loss, {loss:.3g}, is minus the {name}, {value:.3g}: training makes that larger."
        remedy = "Minimize the loss function itself."
        yield Violation("", "fail", message, loss, 0.0, remedy, is_certain=True)


def loss_stalls(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges whether the loss has fallen since the learning rate reached its peak."""
    start = beginning(course)
    steps = course.latest.step - max(course.step_of_peak, course.first_step)
    if start is None or course.lowest_loss is None or steps < TRIAL:
        return
    if not _is_positive(course):
        return
    if course.chance_loss is not None:
        start = min(start, course.chance_loss)
    fall = 1 - course.lowest_loss / start
    limit = rule.limits["fall"].warn
    if limit is not None and fall < limit:
        message = (
            f"The loss was never more than {max(fall, 0):.1%} below {start:.3g}, "
            f"in {steps} steps at the full learning rate."
        )
        yield Violation("", "warn", message, fall, limit)


def _is_positive(course: Course) -> bool:
    """True of a loss that should fall: one number, and never negative, unlike those of policy gradients."""
    return (
        course.latest.has_single_loss
        and course.lowest_loss is not None
        and course.lowest_loss > 0
        and (course.first_loss or 0) > 0
    )
