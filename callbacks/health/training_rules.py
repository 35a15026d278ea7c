"""Rules of the training itself: inputs, structure, modes, optimizers, ranks, and NaN."""

from collections.abc import Iterator

from .course import Course, median
from .finding import Severity
from .parameter_rules import listing
from .rule import Rule, Violation

FEW_STEPS = 20
"""Due steps from which on a fraction of them can be judged."""


def nonfinite(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges NaN and infinities, at the place where they began."""
    place = course.nonfinite
    if place is not None and course.latest.nonfinite is not None:
        yield Violation(place.where, "fail", place.message, float(place.count), 0.0)


def input_scale(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges the mean and the spread of the model's input, in the first step."""
    if course.judged > 1:
        return
    yield from _target_scale(course, rule)
    for name, values in course.latest.inputs.items():
        if values.std == 0:
            message = f"The input of {name} is {values.mean:.3g} throughout: it says nothing about its example."
            yield Violation(name, "fail", message, 0.0, 0.0)
            continue
        if values.is_normalized_next or values.std is None:
            continue
        numbers = {
            "mean": ("mean", abs(values.mean)),
            "std": ("std", values.std),
            "low std": ("std", values.std),
        }
        for key, (words, value) in numbers.items():
            judged = rule.limits[key].judge(value)
            if judged is not None:
                severity, limit = judged
                message = f"The input of {name} has mean {values.mean:.3g} and std {values.std:.3g}."
                yield Violation(
                    name,
                    severity,
                    f"{message[:-1]}: its {words} is out of range.",
                    value,
                    limit,
                )
                break


def _target_scale(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges the targets of regressions: outputs begin near zero, and take long to become large."""
    for loss in course.latest.losses:
        if loss.targets is None:
            continue
        value = max(abs(loss.targets.mean), loss.targets.std)
        judged = rule.limits["targets"].judge(value)
        if judged is not None:
            severity, limit = judged
            message = (
                f"The targets of {loss.name} have mean {loss.targets.mean:.3g} and std {loss.targets.std:.3g}: "
                "far from the outputs of an untrained model."
            )
            remedy = "Standardize the targets, and undo it where the model predicts."
            yield Violation("", severity, message, value, limit, remedy)


def linear_stack(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges two weight layers that have nothing between them."""
    for earlier, later in course.latest.stacked:
        first, second = earlier.rpartition(".")[0], later.rpartition(".")[0]
        message = f"{second} follows {first} without an activation, so that both are one layer."
        yield Violation(first or earlier, "warn", message)


def bias_before_norm(course: Course, rule: Rule) -> Iterator[Violation]:
    """Notes biases that a BatchNorm subtracts again."""
    for name in course.latest.biases_before_norms:
        yield Violation(
            name, "note", f"{name} has no effect: a BatchNorm subtracts it again."
        )


def batchnorm(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges BatchNorms that are in eval mode, or normalize over few rows."""
    for name, kind in course.latest.in_eval_mode.items():
        if "BatchNorm" in kind:
            message = f"{name} ({kind}) is in eval mode while it trains, and keeps its running statistics."
            yield Violation(name, "warn", message)
    for name, rows in course.latest.normalized_rows.items():
        judged = rule.limits["rows"].judge(rows)
        if judged is not None:
            severity, limit = judged
            message = f"{name} normalizes over {rows} rows: their mean and variance are mostly noise."
            yield Violation(
                name,
                severity,
                message,
                float(rows),
                limit,
                "Use larger batches, GroupNorm or LayerNorm.",
            )
    for name, kind in course.latest.norms_of_one.items():
        message = f"{name} ({kind}) normalizes each value by itself: its output does not depend on its input."
        remedy = "Normalize over the axis of the features, or remove it."
        yield Violation(name, "fail", message, 1.0, None, remedy, is_certain=True)


def dropout(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges dropout that drops nearly everything."""
    for name, fraction in course.latest.dropped.items():
        judged = rule.limits["fraction"].judge(fraction)
        if judged is not None:
            severity, limit = judged
            message = f"{name} drops {fraction:.0%} of the values."
            yield Violation(name, severity, message, fraction, limit)


def eval_mode(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges dropout that is in eval mode."""
    names = [
        name
        for name, kind in course.latest.in_eval_mode.items()
        if "BatchNorm" not in kind
    ]
    if names:
        where = names[0] if len(names) == 1 else ""
        yield Violation(
            where,
            "warn",
            f"Dropout does nothing: {listing(names)} in eval mode while the model trains.",
        )


def optimizer_params(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges whether the optimizers have the parameters of the model."""
    observation = course.latest
    missing = [
        name
        for name in observation.unoptimized
        if name in observation.params and observation.params[name].has_gradient
    ]
    if missing:
        where = missing[0] if len(missing) == 1 else common_module(missing)
        message = f"No optimizer has {listing(missing)}, which get gradients."
        yield Violation(where, "fail", message, float(len(missing)), 0.0)
    if observation.unregistered:
        count = len(observation.unregistered)
        message = (
            f"The loss is computed from {count} parameters that are none of the model's, one of shape "
            f"{observation.unregistered[0]}: no optimizer has them, and no checkpoint."
        )
        yield Violation("", "warn", message, float(count), 0.0, REGISTER)
    if observation.foreign:
        message = f"The optimizers have {observation.foreign} parameters that are none of the model's."
        yield Violation(
            "", "fail" if missing else "warn", message, float(observation.foreign), 0.0
        )


REGISTER = "Keep layers in nn.ModuleList or nn.ModuleDict, not in a list or a dict."


def common_module(names: list[str]) -> str:
    """Returns the innermost module that all of several parameters belong to; "" = the whole model."""
    parts = [name.split(".")[:-1] for name in names]
    common = []
    for components in zip(*parts, strict=False):
        if len(set(components)) > 1:
            break
        common.append(components[0])
    return ".".join(common)


def stale_gradients(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges gradients that are added to those of the step before."""
    if course.judged < 2:
        return
    stale = [name for name, param in course.latest.params.items() if param.leftover]
    if stale:
        message = f"Gradients are added to those of earlier steps (seen at {listing(stale)}): zero_grad() is missing."
        value = course.latest.params[stale[0]].leftover
        yield Violation("", "fail", message, value, 0.0)


def unequal_ranks(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges whether all ranks have equal parameters."""
    unequal = [
        name
        for name, param in course.latest.params.items()
        if param.copies is not None and param.copies[0] != param.copies[1]
    ]
    if unequal:
        message = f"Ranks have different values of {listing(unequal)}: they train different models."
        yield Violation(unequal[0], "fail", message, float(len(unequal)), 0.0)


def scaler_skips(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges how many steps the gradient scaler skips."""
    if course.scaled < FEW_STEPS or course.skipped < 2:
        return
    fraction = course.skipped / course.scaled
    judged = rule.limits["fraction"].judge(fraction)
    if judged is not None:
        severity, limit = judged
        message = (
            f"The gradient scaler skipped {fraction:.0%} of {course.scaled} due steps."
        )
        yield Violation("", severity, message, fraction, limit)


NOT_CLIPPED = "Call self.clip_gradients in configure_gradient_clipping of the model, or do not override it."


def clipping(course: Course, rule: Rule) -> Iterator[Violation]:
    """Notes clipping that is active at most steps, and warns where it never works on gradients above its limit.

    Clipping that worked on some works in its own way, such as for each part of a model.
    """
    clip = course.latest.clip
    steps = [each for each in course.window if each.gradient_norm is not None]
    if not clip or len(steps) < 4:
        return
    above = [each for each in steps if (each.gradient_norm or 0.0) > clip]
    unclipped = sum(each.is_clipped is False for each in above)
    norm = median(each.gradient_norm or 0.0 for each in steps)
    cases: tuple[tuple[int, Severity, str, str], ...] = (
        (len(above) - unclipped, "note", "are clipped", ""),
        (
            0 if course.has_clipped else unclipped,
            "warn",
            "above the limit are not clipped",
            NOT_CLIPPED,
        ),
    )
    for count, severity, words, remedy in cases:
        if count > len(steps) / 2:
            message = (
                f"Gradients {words} at {count / len(steps):.0%} of the last due steps: "
                f"their median norm is {norm:.3g}, the limit {clip:.3g}."
            )
            yield Violation("", severity, message, norm, clip, remedy)


def frozen(course: Course, rule: Rule) -> Iterator[Violation]:
    """Notes parameters that do not train."""
    params = course.latest.params
    names = [name for name, param in params.items() if not param.trains]
    if names:
        message = (
            f"{len(names)} of {len(params)} parameters are frozen: {listing(names)}."
        )
        yield Violation("", "note", message, float(len(names)))
