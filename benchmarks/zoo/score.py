"""Score: the counts of a confusion table over outcomes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .outcome import Outcome


@dataclass(frozen=True)
class Fraction:
    """Number of outcomes that have a property, of those that could have it."""

    count: int
    total: int

    def __str__(self) -> str:
        if not self.total:
            return "none"
        return f"{self.count}/{self.total} = {100 * self.count / self.total:.1f} %"


def fraction_of(
    outcomes: Iterable[Outcome], has: Callable[[Outcome], bool]
) -> Fraction:
    """Counts the outcomes that have a property."""
    answers = [has(outcome) for outcome in outcomes]
    return Fraction(sum(answers), len(answers))


def scores(outcomes: list[Outcome]) -> dict[str, Fraction]:
    """Returns the totals of the confusion table by name."""
    sick = [each for each in outcomes if each.kind != "healthy"]
    healthy = [each for each in outcomes if each.kind == "healthy"]
    nans = [each for each in sick if each.nan_steps]
    table = {}
    for kind in ("fault", "mutation"):
        some = [each for each in sick if each.kind == kind]
        table[f"{kind}s found"] = fraction_of(some, lambda each: each.is_noticed)
        table[f"{kind}s with the right rule"] = fraction_of(
            some, lambda each: each.has_rule
        )
        table[f"{kind}s at the right place"] = fraction_of(
            some, lambda each: each.has_place
        )
        table[f"{kind}s with both in one finding"] = fraction_of(
            some, lambda each: each.has_both
        )
    table["first NaN layer and step"] = fraction_of(
        nans, lambda each: each.has_first_nan
    )
    for severity in ("fail", "warn"):
        table[f"healthy with a {severity}"] = fraction_of(
            healthy,
            lambda each, severity=severity: (
                severity in {finding["severity"] for finding in each.findings}
            ),
        )
    table["runs that raised"] = fraction_of(
        outcomes, lambda each: each.verdict == "error"
    )
    return table
