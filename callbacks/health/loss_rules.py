"""Rules of the loss: its value at initialization, and its course."""

import math
from collections.abc import Iterator
from itertools import pairwise, starmap
from operator import gt

from .course import Course, median
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
    yield from _initial_error(course, rule)
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


def _initial_error(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges a mean squared error, if it is all of the loss, beside that of an output of 0 throughout."""
    loss, functions = course.latest.loss, course.latest.losses
    if loss is None or len(functions) != 1 or course.expected_loss is not None:
        return
    (function,) = functions
    targets, value = function.targets, function.value
    if function.name != "mse_loss" or not targets or not targets.mean_square:
        return
    if value is None or not math.isclose(loss, value, rel_tol=1e-3):
        return
    expected = targets.mean_square
    judged = rule.limits["of a regression"].judge(loss / expected)
    if judged is not None:
        severity, limit = judged
        message = (
            f"The loss begins at {loss:.3g}, {loss / expected:.3g} times the {expected:.3g} "
            "of an output of 0 throughout."
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


ENDLESS = 100
"""Multiple of its beginning, and of 1, that a negative loss has to fall below zero."""


def _falls_without_end(course: Course) -> Iterator[Violation]:
    """Finds a loss that has fallen far below zero, and goes on."""
    losses = [each.loss for each in course.last(RECENT) if each.loss is not None]
    if len(losses) < RECENT or course.first_loss is None:
        return
    limit = -ENDLESS * (1 + abs(course.first_loss))
    if max(losses) < limit and all(starmap(gt, pairwise(losses))):
        message = f"The loss falls without end: it is {losses[-1]:.3g}, and began at {course.first_loss:.3g}."
        remedy = (
            "Check the sign of each term of the loss: one of them has no lowest value."
        )
        yield Violation("", "warn", message, losses[-1], limit, remedy, is_certain=True)


def loss_diverges(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges whether the loss has risen above its beginning, or has lost most of what it had gained."""
    yield from _wrong_sign(course)
    yield from _falls_without_end(course)
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
