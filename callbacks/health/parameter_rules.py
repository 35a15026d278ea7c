"""Rules of parameters: those that never move, begin alike, or are of a type too coarse."""

from collections.abc import Iterator, Sequence

from .course import Course
from .finding import Severity
from .observation import Parameter
from .rule import Rule, Violation

FIRST_JUDGED = 4
"""Due steps before a parameter that did not move is judged."""

FIRST_MOVES = 8
"""Steps before it is: behind a zero-initialized layer, the first gradients are zero."""


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
            severity: Severity = (
                "note" if is_unseen_bias(name, param, course) else "fail"
            )
            yield Violation(name, severity, message, 0.0, None, remedy)


def is_unseen_bias(name: str, param: Parameter, course: Course) -> bool:
    """True of a bias that the loss does not depend on, though it depends on the weight of its layer.

    Such is that of a critic, whose loss is the difference of two outputs, and of an energy, whose loss is of its slope.
    """
    layer, _, kind = name.rpartition(".")
    weight = course.latest.params.get(f"{layer}.weight" if layer else "weight")
    has_learning_weight = weight is not None and weight.has_gradient
    is_without = not param.has_gradient and kind == "bias" and has_learning_weight
    return param.axes < 2 and (param.has_zero_gradient or is_without)


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
    """Judges weights whose units are equal, or have equal gradients: they stay alike."""
    if not course.is_early:
        return
    if course.judged == 1 and course.latest.step == 0:
        yield from _constant_weights(course)
    for name, param in course.latest.params.items():
        if param.equal_rows is None or "Embedding" in param.kind:
            continue
        judged = rule.limits["rows"].judge(param.equal_rows)
        if judged is not None:
            severity, limit = judged
            message = f"{param.equal_rows:.0%} of the units of {name} have the same gradient, so that they stay alike."
            yield Violation(name, severity, message, param.equal_rows, limit)


WEIGHTED = ("Linear", "Conv", "LSTM", "GRU", "RNN")
"""Parts of the class names of layers whose weights are a unit a row."""


def _constant_weights(course: Course) -> Iterator[Violation]:
    """Finds weights that begin with one number throughout; zeros are meant, where the layers after them are none."""
    for name, param in course.latest.params.items():
        has_units = any(kind in param.kind for kind in WEIGHTED) and param.axes >= 2
        begins = param.fingerprint and param.fingerprint[0]
        if param.trains and has_units and param.std == 0 and begins:
            message = f"All numbers of {name} are {begins:.3g} at first, so that its units stay alike."
            yield Violation(name, "warn", message, 1.0, 0.0, is_certain=True)


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
