"""Rules of parameters: how far updates move them, and those that never move."""

import math
from collections.abc import Iterator, Sequence
from functools import cache

from .._healthy import UPDATE_RATIOS
from .course import Course, median
from .finding import Severity
from .observation import Parameter
from .rule import Rule, Violation

FIRST_JUDGED = 4
"""Due steps before a parameter that did not move is judged."""

FIRST_MOVES = 8
"""Steps before it is: behind a zero-initialized layer, the first gradients are zero."""

FIRST_FAILURE = 6
"""Due steps before large updates can be a failure: a small network finds its scale in a few of them."""

NORMS = ("BatchNorm", "LayerNorm", "GroupNorm", "RMSNorm", "InstanceNorm")


def is_weight(name: str, param: Parameter, course: Course) -> bool:
    """True of a trained weight whose updates can be compared with its size: one that began with a spread."""
    return (
        param.trains and not is_norm(param.kind) and name not in course.began_constant
    )


@cache
def is_norm(kind: str) -> bool:
    """True of the class name of a normalization."""
    return any(norm in kind for norm in NORMS)


def update_ratios(course: Course, with_embeddings: bool = True) -> dict[str, float]:
    """Returns log10 update ratios of weights, as they would be at the highest learning rate of the run so far.

    A decay to zero makes all updates small, and a warm-up begins with none.
    """
    ratios = {}
    for name, param in course.latest.params.items():
        if param.update_ratio is None or not is_weight(name, param, course):
            continue
        # Rows of an embedding that a batch has not do not move.
        is_judged = with_embeddings or "Embedding" not in param.kind
        if is_judged and course.rate_fraction(name):
            ratios[name] = param.update_ratio
    return ratios


def update_high(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges the median update ratio: early, when a network finds its scale, and later."""
    middle = median(update_ratios(course).values())
    # Adagrad begins with large steps, which its sum of gradients then makes small; LBFGS searches for the best length.
    optimizers = " ".join(course.latest.optimizers)
    begins_large = "Adagrad" in optimizers
    if middle is None or "LBFGS" in optimizers or (course.is_early and begins_large):
        return
    limits = rule.limits["early" if course.is_early else "later"]
    can_fail = course.judged >= FIRST_FAILURE and not course.has_learned
    judged = limits.judge(middle, can_fail)
    if judged is not None:
        severity, limit = judged
        message = (
            f"An update moves the weights by 10^{middle:.1f} of their size (median over parameters); "
            f"healthy are 10^{UPDATE_RATIOS.low:g} to 10^{UPDATE_RATIOS.high:g}."
        )
        yield Violation("", severity, message, middle, limit)


def update_low(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges weights whose updates are far too small, at the peak of the learning rate."""
    if course.is_early:
        return
    ratios = {}
    for name, ratio in update_ratios(course, with_embeddings=False).items():
        fraction = course.rate_fraction(name)
        if fraction and fraction > 0.01:
            ratios[name] = ratio - math.log10(fraction)
    low = {
        name: ratio
        for name, ratio in ratios.items()
        if rule.limits["ratio"].judge(ratio)
    }
    limit = rule.limits["ratio"].warn
    if len(low) > len(ratios) / 2:
        middle = median(ratios.values()) or 0.0
        message = f"An update moves the weights by 10^{middle:.1f} of their size only (median over parameters)."
        yield Violation("", "warn", message, middle, limit, RAISE_RATE)
        return
    for name, ratio in low.items():
        message = f"An update moves {name} by 10^{ratio:.1f} of its size only."
        yield Violation(name, "warn", message, ratio, limit)


RAISE_RATE = (
    f"Raise the learning rate: 10^{UPDATE_RATIOS.usual:g} is a good update ratio."
)


def uneven_learning(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges weights whose updates are far smaller or larger than those of the others."""
    ratios = update_ratios(course, with_embeddings=False)
    middle = median(ratios.values())
    if course.is_early or middle is None or len(ratios) < 3:
        return
    for name, ratio in ratios.items():
        judged = rule.limits["distance"].judge(abs(ratio - middle))
        if judged is not None:
            severity, limit = judged
            message = f"An update moves {name} by 10^{ratio:.1f} of its size, the median parameter by 10^{middle:.1f}."
            yield Violation(name, severity, message, abs(ratio - middle), limit)


def unmoved(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges trainable parameters that have not moved since the first due step."""
    observation = course.latest
    steps = observation.step - course.first_step
    if course.judged < FIRST_JUDGED or steps < FIRST_MOVES:
        return
    if without_gradients(course):
        message = "The gradients of all parameters are zero when the optimizer steps."
        yield Violation("", "fail", message, 0.0, None, ZERO_GRADIENT)
    for name, param in observation.params.items():
        if not param.trains or name in course.moved or param.fingerprint is None:
            continue
        if name not in course.first_fingerprints:
            continue
        is_unused = name in observation.unoptimized and not param.has_gradient
        if is_unused:
            message = f"{name} is trainable, but no optimizer has it and it gets no gradient: it is frozen."
            yield Violation(name, "note", message, None, None, FREEZE)
        else:
            reason, remedy = why_unmoved(name, param, course)
            message = f"{name} has not moved since step {course.first_step}: {reason}."
            # A loss can be blind to a bias: that of a critic, which takes the difference of two outputs.
            is_blind = param.has_zero_gradient and param.axes < 2
            severity: Severity = "note" if is_blind else "fail"
            yield Violation(name, severity, message, 0.0, None, remedy)


FREEZE = "Nothing, if that is meant; requires_grad_(False) says so."


ZERO_GRADIENT = (
    "Look for dead units, a factor of zero, or a zero_grad() between backward and step."
)


def without_gradients(course: Course) -> bool:
    """True if all trained parameters have gradients that are zero, in a training whose loss is not."""
    trained = [
        param for param in course.latest.params.values() if param.trains and param.rate
    ]
    is_done = course.latest.loss is not None and course.latest.loss <= 0
    return (
        bool(trained)
        and not is_done
        and all(param.has_zero_gradient for param in trained)
    )


def why_unmoved(name: str, param: Parameter, course: Course) -> tuple[str, str]:
    """Returns why a parameter does not move, and what to do."""
    if name in course.latest.unoptimized:
        return (
            "no optimizer has it",
            "Give the optimizer all parameters of the model, after all layers are made.",
        )
    if not param.has_gradient:
        return (
            "it gets no gradient",
            "Look for a detach(), a no_grad() or an output that is not used between it and the loss.",
        )
    if param.has_zero_gradient:
        return (
            "its gradient is zero",
            ZERO_GRADIENT,
        )
    if not course.rated.get(name):
        return "its learning rate is zero", "Give its parameter group a learning rate."
    if param.is_coarse or param.why_unmoved == "rounded to zero":
        return (
            "its updates are rounded away",
            "Keep the weights in float32 (precision='bf16-mixed'), or raise the learning rate.",
        )
    if course.latest.was_skipped:
        return (
            "the gradient scaler skips the steps",
            "Look for infinite gradients; precision='bf16-mixed' needs no scaler.",
        )
    return (
        "it has a gradient, and the optimizer does not move it",
        "Check that its optimizer steps, and that nothing writes the old values back.",
    )


def symmetry(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges weights whose units have equal gradients: they stay alike."""
    if not course.is_early:
        return
    for name, param in course.latest.params.items():
        if param.equal_rows is None or "Embedding" in param.kind:
            continue
        judged = rule.limits["rows"].judge(param.equal_rows)
        if judged is not None:
            severity, limit = judged
            message = f"{param.equal_rows:.0%} of the units of {name} have the same gradient, so that they stay alike."
            yield Violation(name, severity, message, param.equal_rows, limit)


def low_precision(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges parameters whose type is too coarse for their updates."""
    coarse = [
        name
        for name, param in course.latest.params.items()
        if param.trains and param.is_coarse
    ]
    if coarse:
        where = coarse[0] if len(coarse) == 1 else ""
        message = f"Updates of {listing(coarse)} are mostly rounded away by the type of the weights."
        yield Violation(where, "warn", message, float(len(coarse)), 0.0)


def listing(names: Sequence[str]) -> str:
    """Returns the first names, and the number of the others."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
