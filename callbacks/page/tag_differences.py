"""Differences of two runs, tag by tag, in the order in which a training step computes the values."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .run import Distribution, Run

STAGES = ("parameters", "activations", "loss", "gradients", "updates", "numbers")
"""Stages of a training step in the order of computation; "numbers" are all other numbers that were logged."""

ROOM = {"gradients": 100.0, "updates": 100.0}
"""Factor on the tolerance by stage: a ReLU whose input rounds to the side of zero lets a whole gradient through or not,
and before a BatchNorm gradients cancel."""

STAGE_OF_PLOT = {
    "weight": "parameters",
    "activation": "activations",
    "saturation": "activations",
    "dead_units": "activations",
    "nonfinite": "activations",
    "activation_grad": "gradients",
    "weight_grad": "gradients",
    "grad_norm": "gradients",
    "update_ratio": "updates",
}
"""Stage by the first component of a tag, without `_mean` and `_std`."""

DERIVED = (
    *("overview", "health", "grad_data_ratio", "final", "initial"),
    "grad_norm/clip_active",
)
"""Tags, or first components of tags, whose values follow from other tags."""

RANGES = ("_underflow", "_subnormal", "_overflow")
"""Ends of the first components of tags of `NumberRange`: rounding of what is nearly zero moves values across a limit,
and decides on which steps a number is written."""

EVALUATION = ("val", "test", "valid", "validation")
"""First words of tags that are not measured in training steps."""

NONFINITE = "nonfinite/"
"""Begin of the tags of counts that are not written where they are zero."""

CLOCK = ("time", "sec", "speed", "throughput", "memory", "duration", "hp_metric")
"""Parts of the names of numbers that say how fast a machine is."""

FRACTIONS = ("saturation", "dead_units")
"""Plots of counted values: rounding moves single values across a threshold."""

FLOAT32 = 2.0**-24
"""Relative rounding error of a float32."""

COARSE = 0.01
"""Difference of two fractions up to which rounding may be its cause."""


class Difference(NamedTuple):
    """Difference of one tag at one step.

    Attributes:
        size: Relative difference; 0 of values that are equal or that rounding may have moved across a threshold.
        values: The two values, or the extremes of two histograms that are furthest apart.
        is_exact: True if the records are equal to the last bit.
    """

    size: float
    values: tuple[float, float]
    is_exact: bool


@dataclass(frozen=True)
class TagDifferences:
    """Differences of one tag at the steps that both runs have.

    Attributes:
        tag: Tag in both runs.
        stage: One of `STAGES`.
        where: Layer or parameter, or the tag of a logged number.
        depth: Position in the order of the stage's computation.
        differences: Differences by step.
    """

    tag: str
    stage: str
    where: str
    depth: float
    differences: Mapping[int, Difference]

    @property
    def rank(self) -> tuple[int, float]:
        """Position in the order of a step's computation."""
        return STAGES.index(self.stage), self.depth

    def excess(self, step: int) -> float:
        """Returns the size of a difference in units of what the stage may differ by, to compare with a tolerance."""
        return self.differences[step].size / ROOM.get(self.stage, 1.0)


def differences_of(first: Run, second: Run) -> list[TagDifferences]:
    """Returns the differences of all tags that both runs have, in the order of a step's computation."""
    depths = Depths(first)
    tags: list[TagDifferences] = []
    nonfinite = [tag for tag in second.numbers if tag.startswith(NONFINITE)]
    for tag in dict.fromkeys([*first.numbers, *first.distributions, *nonfinite]):
        stage, where = place_of(tag)
        by_step = differences_by_step(first, second, tag) if stage else {}
        if by_step:
            depth = depths.of(tag, stage, where)
            tags.append(TagDifferences(tag, stage, where, depth, by_step))
    return sorted(tags, key=lambda each: each.rank)


def place_of(tag: str) -> tuple[str, str]:
    """Returns the stage of a tag, and its layer or parameter; the stage is empty of tags that are not compared.

    Example:
        >>> place_of("weight_grad_std/net.0.weight"), place_of("train/loss"), place_of("val/loss")
        (('gradients', 'net.0.weight'), ('loss', 'train/loss'), ('numbers', 'val/loss'))
        >>> place_of("fp16_underflow/activation_grad/net.1")[0]
        ''
    """
    plot, _, where = tag.partition("/")
    base = plot.removesuffix("_mean").removesuffix("_std")
    if tag not in DERIVED and where and base in STAGE_OF_PLOT:
        return STAGE_OF_PLOT[base], where
    name = tag.lower()
    is_derived = plot in DERIVED or tag in DERIVED or plot.endswith(RANGES)
    if is_derived or any(word in name for word in CLOCK):
        return "", tag
    is_evaluation = name.replace("/", "_").startswith(EVALUATION)
    return ("loss" if "loss" in name and not is_evaluation else "numbers"), tag


class Depths:
    """Positions of layers and parameters in the order in which a step computes their values.

    Args:
        run: Run whose tags stand in the order of the calls and of the model's parameters.
    """

    def __init__(self, run: Run) -> None:
        self._tags = {tag: place for place, tag in enumerate(run.numbers)}
        self._layers: dict[str, int] = {}
        self._params: dict[str, int] = {}
        for tag in [*run.numbers, *run.distributions]:
            plot, _, where = tag.partition("/")
            if plot.startswith(("activation", *FRACTIONS)):
                self._layers.setdefault(where, len(self._layers))
            elif plot.startswith(("weight", "update_ratio")):
                self._params.setdefault(where, len(self._params))

    def of(self, tag: str, stage: str, where: str) -> float:
        """Returns the position of a tag within its stage; of gradients from the last layer to the first."""
        places = self._layers if where in self._layers else self._params
        place = places.get(where, self._tags.get(tag, 0))
        if stage != "gradients":
            return place
        if where not in places:
            return 1.0  # the norm of all gradients, in which every gradient is
        following = len(places) - 1 - place
        if places is self._params:
            return following / len(places)
        # Between the gradient of the weights after a layer and that of the weights before it.
        return (following + 0.5) / (len(places) + 1)


def differences_by_step(first: Run, second: Run, tag: str) -> dict[int, Difference]:
    """Returns the differences of a tag at the steps that both runs have."""
    if tag.startswith(NONFINITE):
        return nonfinite_differences(first, second, tag)
    if tag in first.distributions:
        histograms = by_step(second.distributions.get(tag, ()))
        return {
            each.step: histogram_difference(each, histograms[each.step])
            for each in first.distributions[tag]
            if each.step in histograms
        }
    values, spreads = numbers_by_step(first, tag), spreads_by_step(first, tag)
    return {
        step: number_difference(tag, values[step], value, spreads.get(step, 0.0))
        for step, value in numbers_by_step(second, tag).items()
        if step in values
    }


def by_step(distributions: Iterable[Distribution]) -> dict[int, Distribution]:
    """Returns histograms by step."""
    return {each.step: each for each in distributions}


def numbers_by_step(run: Run, tag: str) -> dict[int, float]:
    """Returns the numbers of a tag by step; nothing of a tag that the run does not have."""
    if tag not in run.numbers:
        return {}
    series = run.numbers[tag]
    return dict(zip(series.steps, series.values, strict=True))


def spreads_by_step(run: Run, tag: str) -> dict[int, float]:
    """Returns the standard deviations beside the means of a tag: a mean near zero is rounded at their scale."""
    plot, _, where = tag.partition("/")
    if not plot.endswith("_mean"):
        return {}
    return numbers_by_step(run, f"{plot.removesuffix('_mean')}_std/{where}")


def nonfinite_differences(first: Run, second: Run, tag: str) -> dict[int, Difference]:
    """Returns the differences in numbers of NaN and infinities, which are written only where there are any."""
    pair = [numbers_by_step(run, tag) for run in (first, second)]
    common = steps_of(first) & steps_of(second)
    differences: dict[int, Difference] = {}
    for step in sorted((pair[0].keys() | pair[1].keys()) & common):
        counts = (pair[0].get(step, 0.0), pair[1].get(step, 0.0))
        is_equal = counts[0] == counts[1]
        differences[step] = Difference(0.0 if is_equal else math.inf, counts, is_equal)
    return differences


def steps_of(run: Run) -> set[int]:
    """Returns all steps at which a run has numbers."""
    return {step for series in run.numbers.values() for step in series.steps}


def number_difference(
    tag: str, first: float, second: float, spread: float = 0.0
) -> Difference:
    """Compares two numbers.

    Args:
        tag: Tag of both.
        first: Number of the first run.
        second: Number of the second run.
        spread: Scale of rounding errors, where the numbers themselves are smaller.

    Example:
        >>> number_difference("activation_mean/tanh", 0.001, 0.002, spread=0.5).size
        0.002
        >>> number_difference("saturation/tanh", 0.125, 0.126).size
        0.0
    """
    values = (first, second)
    if first == second or (math.isnan(first) and math.isnan(second)):
        return Difference(0.0, values, True)
    distance = abs(first - second)
    if not math.isfinite(distance):
        return Difference(math.inf, values, False)
    plot = tag.partition("/")[0]
    if plot in FRACTIONS:
        return Difference(distance if distance > COARSE else 0.0, values, False)
    if plot == "update_ratio":
        return Difference(update_difference(first, second), values, False)
    return Difference(distance / max(abs(first), abs(second), spread), values, False)


def update_difference(first: float, second: float) -> float:
    """Returns the relative difference of two updates, from log10 of their ratios to a parameter.

    What rounding of the parameter costs an update, its last digit, is taken off: an update of a thousandth of its
    parameter has three digits less.
    """
    size = 10 ** min(abs(first - second), 300.0) - 1
    lost = FLOAT32 / 10 ** max(min(first, second), -300.0)
    return max(size - lost, 0.0)


def histogram_difference(first: Distribution, second: Distribution) -> Difference:
    """Compares the lowest and the highest values of two histograms, and all bins to the last bit.

    Rounding moves values from one bin to the next, so that counts say little of the size of a difference.
    """
    ends = [(first.edges[end], second.edges[end]) for end in (0, -1)]
    low, high = ends
    values = low if abs(low[0] - low[1]) > abs(high[0] - high[1]) else high
    scale = max(abs(edge) for edges in ends for edge in edges)
    is_exact = (list(first.edges), list(first.counts)) == (
        list(second.edges),
        list(second.counts),
    )
    distance = abs(values[0] - values[1])
    return Difference(distance / scale if distance else 0.0, values, is_exact)
