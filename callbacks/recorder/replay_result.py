"""ReplayResult: what came of a step that was run again."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .first_seen import FirstSeen
from .page import tables_of_step
from .rows import Numbers

OUTPUT = "largest output of"
UNKNOWN = (
    "No reason is known. A bundle has no random numbers of NumPy and of generators of the model's own, and of its "
    "other attributes only numbers."
)


@dataclass(frozen=True)
class ReplayResult:
    """A step of a bundle, run again.

    Attributes:
        step: Step that something was out of line in first, in the training.
        where: Layer or parameter at which it was out of line in the second run; "batch" for the batch, "" for the loss.
        message: One sentence: the first operation whose output is not finite, the layer whose output or gradient
            jumped, or what was raised; None if nothing of it came again.
        numbers: Numbers of the last steps: of the training before the first batch of the bundle, and of the second run
            from then on.
        compared: How many numbers of the training there are to compare with.
        difference: The first number that is another than in the training, and what may be the reason; None if all are
            the same to the last bit.
    """

    step: int
    where: str
    message: str | None
    numbers: tuple[Numbers, ...]
    compared: int
    difference: str | None

    @property
    def is_equal(self) -> bool:
        """True if every number that was recorded in the training came again, bit for bit."""
        return self.difference is None and self.compared > 0

    def __str__(self) -> str:
        """Returns the message, the comparison with the training, and tables of layers and parameters."""
        message = self.message or f"Nothing was out of line in step {self.step}."
        tables = tables_of_step(self.numbers, self.step)
        return "\n\n".join(filter(None, [message, self._comparison(), tables]))

    def _comparison(self) -> str:
        if self.is_equal:
            return f"Bit-equal to the training: all {self.compared} numbers that were recorded of it."
        return self.difference or "There is no number of the training to compare with."

    def to_dict(self) -> dict[str, Any]:
        """Returns the result as JSON takes it."""
        return {
            "step": self.step,
            "where": self.where,
            "message": self.message,
            "is_equal": self.is_equal,
            "compared": self.compared,
            "difference": self.difference,
        }


@dataclass(frozen=True)
class Comparison:
    """Numbers of a second run beside those of the training.

    Attributes:
        compared: How many numbers both have.
        difference: The first that differs, in one sentence; None if none does.
    """

    compared: int
    difference: str | None


def compare(
    recorded: Sequence[Numbers], again: Sequence[Numbers], has_all_outputs: bool = True
) -> Comparison:
    """Compares the steps that both have, each number to the last bit; NaN is equal to NaN.

    Args:
        recorded: Numbers of the training.
        again: Numbers of the second run.
        has_all_outputs: Whether an output without a number in the second run is a difference.
    """
    compared, difference = 0, None
    by_step = {each.step: each for each in recorded}
    for each in again:
        if each.step not in by_step:
            continue
        before, after = named(by_step[each.step]), named(each)
        common = [name for name in before if name in after]
        compared += len(common)
        for name in common:
            if difference is None and not same(before[name], after[name]):
                difference = (
                    f"Not bit-equal to the training: the {name} of step {each.step} is {after[name]:.9g}, and was "
                    f"{before[name]:.9g}."
                )
        missing = [
            name
            for name in before
            if name not in after and (has_all_outputs or not name.startswith(OUTPUT))
        ]
        if difference is None and missing:
            difference = f"Not bit-equal to the training: the {missing[0]} of step {each.step} did not come again."
    return Comparison(compared, difference)


def named(numbers: Numbers) -> dict[str, float]:
    """Returns the numbers of a step that can be compared, by what they are."""
    values = {"loss": numbers.loss, "gradient norm": numbers.grad_norm}
    known = {name: value for name, value in values.items() if value is not None}
    outputs = _with_words(OUTPUT + " {}", numbers.magnitudes)
    return outputs | known | _with_words("gradient of {}", numbers.gradients)


def _with_words(words: str, values: Mapping[str, float]) -> dict[str, float]:
    return {words.format(name): value for name, value in values.items()}


def same(recorded: float, again: float) -> bool:
    """True if two numbers are equal, or both NaN."""
    return recorded == again or (math.isnan(recorded) and math.isnan(again))


def result_of(
    step: int,
    first: FirstSeen | None,
    numbers: Sequence[Numbers],
    comparison: Comparison,
    reasons: Sequence[str],
) -> ReplayResult:
    """Puts a result together.

    Args:
        step: Step of the bundle.
        first: What was out of line in the second run.
        numbers: Numbers of the steps before it and of the second run.
        comparison: Numbers of both runs.
        reasons: Why numbers may differ.
    """
    difference = comparison.difference
    if difference is not None:
        known = f"What is different: {'; '.join(reasons)}." if reasons else UNKNOWN
        difference += f" {known}"
    where, message = ("", None) if first is None else (first.where, first.message)
    return ReplayResult(
        step, where, message, tuple(numbers), comparison.compared, difference
    )
