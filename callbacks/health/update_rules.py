"""Rules of updates: how far a step moves the weights, and a learning rate that ends early."""

import math
from collections.abc import Iterator
from functools import cache

from .._healthy import UPDATE_RATIOS
from .course import Course, median
from .observation import Observation, Parameter
from .rule import Rule, Violation

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


def update_ratios(
    course: Course, observation: Observation | None = None
) -> dict[str, float]:
    """Returns log10 update ratios of the weights with a learning rate at a due step, by default the current one.

    Rows of an embedding that a batch has not do not move, and they may begin small: embeddings are left out.
    """
    ratios = {}
    for name, param in (observation or course.latest).params.items():
        if param.update_ratio is None or not is_weight(name, param, course):
            continue
        if "Embedding" not in param.kind and param.rate:
            ratios[name] = param.update_ratio
    return ratios


def update_high(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges the median update ratio: early, when a network finds its scale, and later."""
    # Adagrad begins with large steps, which its sum of gradients then makes small; LBFGS searches for the best length.
    optimizers = " ".join(course.latest.optimizers)
    begins_large = "Adagrad" in optimizers
    if "LBFGS" in optimizers or (course.is_early and begins_large):
        return
    key, steps = _phase(course)
    ratios = [_median_ratio(course, each) for each in course.last(steps)]
    known = [ratio for ratio in ratios if ratio is not None]
    if len(known) < steps:
        return
    middle = min(known)
    can_fail = course.judged >= FIRST_FAILURE and not course.has_learned
    judged = rule.limits[key].judge(middle, can_fail)
    if judged is not None:
        severity, limit = judged
        message = (
            f"An update moves the weights by 10^{middle:.1f} of their size (median over parameters); "
            f"healthy are 10^{UPDATE_RATIOS.low:g} to 10^{UPDATE_RATIOS.high:g}."
        )
        yield Violation("", severity, message, middle, limit)


LASTING = 4
"""Due steps at which large updates are more than noise, in a training that goes well."""


def _phase(course: Course) -> tuple[str, int]:
    """Returns the name of the limits of large updates, and the due steps at which they have to be large."""
    if course.is_early:
        return ("early, falling" if course.is_falling else "early"), 1
    return "later", LASTING if course.has_learned else 1


def _median_ratio(course: Course, observation: Observation) -> float | None:
    ratios = update_ratios(course, observation)
    return median(ratios.values())


def update_low(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges weights whose updates are far too small, at the peak of the learning rate, and a rate that ends early."""
    if course.is_early:
        return
    yield from _rate_ends_early(course, rule)
    ratios = {}
    for name, ratio in update_ratios(course).items():
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


HALF = 0.5
"""Part of a training before which a learning rate should not end."""

RESTART = 3
"""Due steps in a row with a low rate: of a schedule that restarts, fewer fall on its lowest part."""


def _rate_ends_early(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges a learning rate that has been next to nothing since the first half of a training."""
    limits = rule.limits["rate"]
    low: list[tuple[Observation, float]] = []
    for each in reversed(course.window):
        fraction = highest_rate_fraction(course, each)
        if fraction is None or limits.judge(fraction) is None:
            break
        low.append((each, fraction))
    if len(low) < RESTART:
        return
    progress, fraction = low[-1][0].progress, low[0][1]
    if progress is not None and progress <= HALF:
        message = (
            f"The learning rate is {fraction:.1g} of its peak, "
            f"and was next to nothing at {progress:.0%} of the training."
        )
        yield Violation("", "warn", message, fraction, limits.warn, CHECK_SCHEDULE)


CHECK_SCHEDULE = (
    "Check the length of the schedule: one that counts epochs ends after as many "
    'batches if it is stepped in each ("interval": "step").'
)


def highest_rate_fraction(course: Course, observation: Observation) -> float | None:
    """Returns the learning rate as a fraction of its peak, of the parameter with the highest; None if unknown."""
    fractions = [course.rate_fraction(name, observation) for name in observation.params]
    return max((each for each in fractions if each is not None), default=None)


RAISE_RATE = (
    f"Raise the learning rate: 10^{UPDATE_RATIOS.usual:g} is a good update ratio."
)


def uneven_learning(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges weights whose updates are far smaller or larger than those of the others."""
    ratios = update_ratios(course)
    middle = median(ratios.values())
    if course.is_early or middle is None or len(ratios) < 3:
        return
    for name, ratio in ratios.items():
        judged = rule.limits["distance"].judge(abs(ratio - middle))
        if judged is not None:
            severity, limit = judged
            message = f"An update moves {name} by 10^{ratio:.1f} of its size, the median parameter by 10^{middle:.1f}."
            yield Violation(name, severity, message, abs(ratio - middle), limit)
