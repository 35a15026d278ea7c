"""Rule: one way in which a training can be sick, as data and a pure function."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .course import Course
from .finding import Severity


@dataclass(frozen=True)
class Limits:
    """Limits of a number.

    Attributes:
        warn: Beyond it the number is a warning; None = never.
        fail: Beyond it the number is a failure; None = never.
        is_floor: Whether numbers below the limits are sick, not those above.
    """

    warn: float | None = None
    fail: float | None = None
    is_floor: bool = False

    def judge(
        self, value: float, can_fail: bool = True
    ) -> tuple[Severity, float] | None:
        """Returns the severity of a number and the limit that it breaks; None if it breaks none.

        Args:
            value: Number.
            can_fail: Whether it may be a failure; else it is a warning at most.
        """
        for severity, limit in (("fail", self.fail), ("warn", self.warn)):
            if limit is None or (severity == "fail" and not can_fail):
                continue
            if value < limit if self.is_floor else value > limit:
                return severity, limit  # type: ignore[return-value]
        return None


@dataclass(frozen=True)
class Violation:
    """A rule that is broken at one place in one due step.

    Attributes:
        where: Name of a layer or parameter; "" = the whole model.
        severity: Severity at this step.
        message: One sentence with the number.
        value: Number that breaks the rule; None if there is none.
        limit: Its limit.
        remedy: One sentence, where it differs from that of the rule.
        is_certain: Whether one due step is enough, whatever the rule asks for.
    """

    where: str
    severity: Severity
    message: str
    value: float | None = None
    limit: float | None = None
    remedy: str = ""
    is_certain: bool = False


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: Part of tags and findings.
        measures: Number or fact that is judged.
        why: Reason why it is sick.
        remedy: One sentence: what to do.
        source: Paper, lecture or measurement that the limits come from.
        find: Returns the places at which the rule is broken in the current due step.
        limits: By name, those that `find` reads.
        hold: Due steps in a row that a place has to break the rule at before it is a finding.
    """

    name: str
    measures: str
    why: str
    remedy: str
    source: str
    find: Callable[[Course, "Rule"], Iterable[Violation]]
    limits: dict[str, Limits] = field(default_factory=dict)
    hold: int = 1
