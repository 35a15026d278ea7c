"""Course of a training: the last due steps, and what has to be remembered of those before."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .observation import Fingerprint, Nonfinite, Observation

WINDOW = 8
"""Due steps that a rule can look back on."""

FIRST_LOSSES = 4
"""Due steps whose losses show how much a batch differs from the next."""

LEARNED = 0.2
"""Fraction of the loss whose fall shows that a training goes well, whatever else is odd about it."""

EARLY = 64
"""Steps in which a network finds its scale: updates are large at first in healthy trainings, too."""


@dataclass(frozen=True)
class Course:
    """Numbers and facts of a training that the rules may read.

    Attributes:
        window: The last due steps, the current one last.
        judged: Number of due steps up to the current one.
        first_step: First due step of the fit.
        expected_loss: Loss of an untrained model; None = inferred from the loss function.
        first_loss: Loss at the first due step; that of the run, also in a resumed one.
        first_losses: Losses of the first due steps.
        chance_loss: Loss of knowing nothing, if the loss is one cross entropy and nothing else.
        lowest_loss: Lowest mean loss between two due steps.
        step_of_peak: Last step at which a learning rate was higher than ever before: the end of a warm-up.
        peak_rates: Highest learning rate of each parameter.
        first_fingerprints: Moments of each parameter when it was first measured.
        moved: Parameters that have moved.
        began_constant: Parameters without spread at first, such as those that begin at zero.
        rated: Number of due steps at which a parameter had a learning rate above zero.
        nonfinite: First place with NaN or infinities.
        skipped: Due steps that the gradient scaler skipped, after the first few.
        scaled: Due steps with a gradient scaler, after the first few.
        has_clipped: Whether clipping has ever lowered the norm of the gradients.
    """

    window: tuple[Observation, ...] = ()
    judged: int = 0
    first_step: int = 0
    expected_loss: float | None = None
    first_loss: float | None = None
    first_losses: tuple[float, ...] = ()
    chance_loss: float | None = None
    lowest_loss: float | None = None
    step_of_peak: int = 0
    peak_rates: Mapping[str, float] = field(default_factory=dict)
    first_fingerprints: Mapping[str, Fingerprint] = field(default_factory=dict)
    moved: frozenset[str] = frozenset()
    began_constant: frozenset[str] = frozenset()
    rated: Mapping[str, int] = field(default_factory=dict)
    nonfinite: Nonfinite | None = None
    skipped: int = 0
    scaled: int = 0
    has_clipped: bool = False

    @property
    def latest(self) -> Observation:
        """The current due step."""
        return self.window[-1]

    @property
    def is_early(self) -> bool:
        """True while a network finds its scale."""
        return self.latest.step - self.first_step <= EARLY

    @property
    def has_learned(self) -> bool:
        """True if the loss is well below its beginning, or if there is no single loss to tell."""
        loss, first = self.latest.loss, self.first_loss
        if loss is None or first is None:
            return True
        return loss < first - LEARNED * abs(first)

    @property
    def is_falling(self) -> bool:
        """True if the loss is known to be below its beginning, or to be one that need not fall: a negative one."""
        loss, first = self.latest.loss, self.first_loss
        return loss is not None and first is not None and (loss < first or first <= 0)

    def rate_fraction(
        self, name: str, observation: Observation | None = None
    ) -> float | None:
        """Returns the learning rate of a parameter, by default the current one, as a fraction of its peak so far.

        None where it has none, or never had one above zero.
        """
        rate = (observation or self.latest).params[name].rate
        peak = self.peak_rates.get(name)
        return rate / peak if rate is not None and peak else None

    def last(self, count: int) -> tuple[Observation, ...]:
        """Returns the last due steps, fewer where there are fewer."""
        return self.window[-count:]

    def state(self) -> dict[str, Any]:
        """Returns what a resumed run has to know, in plain types."""
        return {
            "judged": self.judged,
            "first_step": self.first_step,
            "first_loss": self.first_loss,
            "first_losses": list(self.first_losses),
            "chance_loss": self.chance_loss,
            "lowest_loss": self.lowest_loss,
            "step_of_peak": self.step_of_peak,
            "peak_rates": dict(self.peak_rates),
            "first_fingerprints": {
                name: list(numbers) for name, numbers in self.first_fingerprints.items()
            },
            "moved": sorted(self.moved),
            "began_constant": sorted(self.began_constant),
            "rated": dict(self.rated),
            "nonfinite": asdict(self.nonfinite) if self.nonfinite else None,
            "skipped": self.skipped,
            "scaled": self.scaled,
            "has_clipped": self.has_clipped,
        }

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], expected_loss: float | None
    ) -> "Course":
        """Makes the course of a resumed run."""
        values = dict(state)
        if values["nonfinite"] is not None:
            values["nonfinite"] = Nonfinite(**values["nonfinite"])
        values["first_losses"] = tuple(values["first_losses"])
        values["moved"] = frozenset(values["moved"])
        values["began_constant"] = frozenset(values["began_constant"])
        values["first_fingerprints"] = {
            name: tuple(numbers)
            for name, numbers in values["first_fingerprints"].items()
        }
        return cls(**values, expected_loss=expected_loss)


def advance(course: Course, observation: Observation) -> Course:
    """Returns the course with one more due step."""
    first_step = course.first_step if course.judged else observation.step
    course = replace(
        course,
        window=(*course.window, observation)[-WINDOW:],
        judged=course.judged + 1,
        first_step=first_step,
        nonfinite=course.nonfinite or observation.nonfinite,
        has_clipped=course.has_clipped or bool(observation.is_clipped),
    )
    course = _with_params(course, observation)
    course = _with_loss(course, observation)
    return _with_scaler(course, observation)


def _with_params(course: Course, observation: Observation) -> Course:
    params = observation.params
    peaks = dict(course.peak_rates)
    rated = dict(course.rated)
    first = dict(course.first_fingerprints)
    moved, constant = set(course.moved), set(course.began_constant)
    step_of_peak = course.step_of_peak
    for name, param in params.items():
        if param.rate:
            if param.rate > peaks.get(name, 0.0):
                peaks[name], step_of_peak = param.rate, observation.step
            rated[name] = rated.get(name, 0) + 1
        if param.fingerprint is not None and name not in first:
            first[name] = param.fingerprint
            if param.std == 0 or param.std is None:
                constant.add(name)
        if param.moved or _differ(param.fingerprint, first.get(name)):
            moved.add(name)
    return replace(
        course,
        step_of_peak=step_of_peak,
        peak_rates=peaks,
        rated=rated,
        first_fingerprints=first,
        moved=frozenset(moved),
        began_constant=frozenset(constant),
    )


def _with_loss(course: Course, observation: Observation) -> Course:
    loss = observation.loss
    if loss is None or not math.isfinite(loss):
        return course
    return replace(
        course,
        first_loss=loss if course.first_loss is None else course.first_loss,
        chance_loss=chance_loss(observation)
        if course.first_loss is None
        else course.chance_loss,
        first_losses=(*course.first_losses, loss)[:FIRST_LOSSES],
        lowest_loss=lowest(loss, course.lowest_loss),
    )


def chance_loss(observation: Observation) -> float | None:
    """Returns ln C if the loss is the cross entropy of C classes, without weights, smoothing or other terms."""
    if len(observation.losses) != 1 or observation.loss is None:
        return None
    (function,) = observation.losses
    if not function.classes or function.value is None or not function.is_normalized:
        return None
    is_alone = math.isclose(observation.loss, function.value, rel_tol=1e-3)
    return math.log(function.classes) if is_alone else None


def _with_scaler(course: Course, observation: Observation) -> Course:
    # A scaler finds its scale by skipping the first steps.
    if not observation.uses_scaler or observation.step - course.first_step < EARLY:
        return course
    return replace(
        course,
        scaled=course.scaled + 1,
        skipped=course.skipped + observation.was_skipped,
    )


def lowest(number: float, lowest_before: float | None) -> float:
    """Returns the lower of two numbers, of which one may be missing."""
    return number if lowest_before is None else min(number, lowest_before)


def median(numbers: Iterable[float]) -> float | None:
    """Returns the median; None of nothing."""
    ordered = sorted(numbers)
    if not ordered:
        return None
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def _differ(numbers: Fingerprint | None, first: Fingerprint | None) -> bool:
    return numbers is not None and first is not None and numbers != first
