"""Rules of layers: saturated and dead units, and scale over depth."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from .course import Course
from .finding import Severity
from .observation import Layer, Observation
from .rule import Rule, Violation

TWO_ENDED = ("Tanh", "Sigmoid", "Softsign", "Hardtanh", "Hardsigmoid")
"""Activations that are flat at both ends, so that flat values let no gradient through."""

OBSERVATIONS = 5
"""Due steps that a unit has to be dead at."""

EXAMPLES = 100
"""Values of a unit, over these due steps, that tell a dead one from a rare one."""

FEWEST = 3
"""Layers that a trend over depth can be seen in."""

MANY = 6
"""Layers over which a factor a layer is judged: a small one adds up."""


def is_inside(layer: Layer) -> bool:
    """True of an activation inside the network: an output or a gate may be at its ends."""
    return not (layer.is_output or layer.is_gate or layer.is_block)


def saturation(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges the fraction of saturated values of activations with two flat ends."""
    for name, layer in course.latest.layers.items():
        if layer.saturated is None or layer.is_switched or layer.kind not in TWO_ENDED:
            continue
        can_fail = course.is_early or not course.has_learned
        judged = rule.limits["fraction"].judge(layer.saturated, can_fail)
        if is_inside(layer) and judged is not None:
            severity, limit = judged
            message = f"{layer.saturated:.0%} of the outputs are saturated, which lets (almost) no gradient through."
            yield Violation(name, severity, message, layer.saturated, limit)


def dead_units(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges the units that are flat on every example of several due steps, and layers of zeros."""
    window = course.last(OBSERVATIONS)
    if len(window) < OBSERVATIONS:
        return
    for name, layer in course.latest.layers.items():
        if not is_inside(layer):
            continue
        dead = dead_fraction(name, window)
        # A side branch can die in a network that learns without it.
        is_doing_well = course.latest.loss is not None and course.has_learned
        judged = rule.limits["dead"].judge(dead or 0.0, not is_doing_well)
        if judged is not None and dead is not None:
            severity, limit = judged
            message = f"{dead:.0%} of the units have been flat on every example of the last {len(window)} due steps."
            yield Violation(name, severity, message, dead, limit)
            continue
        zeros = _lowest_zeros(name, window)
        judged = None if zeros is None else rule.limits["zeros"].judge(zeros)
        if judged is not None and zeros is not None:
            severity, limit = judged
            message = f"At least {zeros:.0%} of the outputs are zero in each of the last {len(window)} due steps."
            yield Violation(name, severity, message, zeros, limit)


def dead_fraction(name: str, window: Sequence[Observation]) -> float | None:
    """Returns the fraction of units that are dead in all of several due steps; None if too few examples were seen."""
    layers = [each.layers[name] for each in window if name in each.layers]
    if len(layers) < len(window) or sum(layer.examples for layer in layers) < EXAMPLES:
        return None
    latest = layers[-1].dead
    if latest and not any(mask.any() for mask in latest.values()):
        return 0.0
    units, dead = 0, 0
    for width, mask in latest.items():
        masks = [layer.dead.get(width) for layer in layers]
        common = mask.copy()
        for earlier in masks:
            common &= np.zeros_like(mask) if earlier is None else earlier
        units, dead = units + width, dead + int(common.sum())
    return dead / units if units else None


def _lowest_zeros(name: str, window: Sequence[Observation]) -> float | None:
    """Returns the lowest fraction of zeros of a layer over several due steps; None of other activations."""
    fractions = []
    for observation in window:
        layer = observation.layers.get(name)
        if layer is None or layer.saturated is None or not layer.is_switched:
            return None
        fractions.append(layer.saturated)
    return min(fractions)


def activation_scale(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges the scale of activations over depth, at initialization."""
    if course.judged > 1 or course.latest.step > 0:
        return
    yield from _scale_over_depth(course, rule, lambda layer: layer.std, "activations")
    yield from _large_embeddings(course, rule)
    for group in groups_of(course.latest):
        for name, layer in group.items():
            judged = rule.limits["size"].judge(layer.std or 0.0)
            if judged is not None and not layer.is_block:
                severity, limit = judged
                message = f"The outputs have std {layer.std:.3g}, far from 1."
                yield Violation(name, severity, message, layer.std, limit)
                break  # those after it are large because it is


def _large_embeddings(course: Course, rule: Rule) -> Iterator[Violation]:
    for name, param in course.latest.params.items():
        if "Embedding" not in param.kind or param.std is None or not param.trains:
            continue
        judged = rule.limits["size"].judge(param.std)
        if judged is not None:
            severity, limit = judged
            message = f"{name} has std {param.std:.3g}, far from 1."
            yield Violation(name, severity, message, param.std, limit)


def gradient_scale(course: Course, rule: Rule) -> Iterator[Violation]:
    """Judges the scale of the gradients of activations over depth."""
    yield from _scale_over_depth(
        course, rule, lambda layer: layer.grad_norm, "gradients of the activations"
    )


def _scale_over_depth(
    course: Course, rule: Rule, number: Callable[[Layer], float | None], words: str
) -> Iterator[Violation]:
    for group in groups_of(course.latest):
        scales = {
            name: scale
            for name, layer in group.items()
            if (scale := number(layer)) is not None and scale > 0
        }
        if len(scales) < FEWEST:
            continue
        first = next(iter(group.values()))
        is_block = first.is_block or first.is_in_block
        limits = rule.limits["blocks" if is_block else "ratio"]
        ratio = max(scales.values()) / min(scales.values())
        judged = limits.judge(ratio)
        if judged is None and not is_block:
            judged = _judge_factor(list(scales.values()), rule)
        if judged is not None:
            severity, limit = judged
            low, high = (
                min(scales, key=scales.__getitem__),
                max(scales, key=scales.__getitem__),
            )
            message = (
                f"The {words} differ {ratio:.3g}-fold in scale over depth: {scales[low]:.2g} "
                f"in {low}, {scales[high]:.2g} in {high}."
            )
            yield Violation(place_of_change(scales), severity, message, ratio, limit)


def groups_of(observation: Observation) -> Iterator[dict[str, Layer]]:
    """Yields the layers whose scales can be compared: of one kind, in the order of their first call."""
    groups: dict[str, dict[str, Layer]] = {}
    for name, layer in observation.layers.items():
        if layer.group and not (layer.is_output or layer.is_gate):
            groups.setdefault(layer.group, {})[name] = layer
    yield from groups.values()


def _judge_factor(scales: Sequence[float], rule: Rule) -> tuple[Severity, float] | None:
    """Judges the mean factor from layer to layer, where there are many."""
    limits = rule.limits.get("factor")
    if limits is None or limits.warn is None or len(scales) < MANY:
        return None
    factor = abs(math.log(scales[-1] / scales[0])) / (len(scales) - 1)
    return (
        ("warn", limits.warn ** (len(scales) - 1))
        if factor > math.log(limits.warn)
        else None
    )


def place_of_change(scales: dict[str, float]) -> str:
    """Returns the layer at which the scale jumps, or the smallest one where it changes little by little."""
    names = list(scales)
    changes = [
        abs(math.log(scales[after] / scales[before]))
        for before, after in pairwise(names)
    ]
    total = math.log(max(scales.values()) / min(scales.values()))
    largest = max(range(len(changes)), key=changes.__getitem__)
    if changes[largest] > 0.6 * total:
        return names[largest + 1]
    return min(scales, key=scales.__getitem__)
