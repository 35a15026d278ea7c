"""Judge: applies the rules to each due step, and turns what holds into findings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from .catalogue import RULES
from .course import Course, advance
from .finding import SEVERITIES, Finding, by_severity, finite_or_none
from .health_report import HealthReport
from .observation import Nonfinite, Observation
from .rule import Rule, Violation

Place = tuple[str, str]
"""Rule and name of a layer or parameter."""


@dataclass
class Pending:
    """Place at which a rule is broken, and for how many due steps in a row."""

    step: int
    times: int = 0


class Judge:
    """Verdict on one training.

    A rule that is broken becomes a finding once it has been for `Rule.hold` due steps in a row, so that an odd batch is
    none; a finding stays, and its severity never falls.

    Args:
        ignore: Rules, or "rule:pattern" for places, that are not judged.
        expected_loss: Loss of an untrained model; None = inferred.
        rules: All rules.
    """

    def __init__(
        self,
        ignore: Sequence[str] = (),
        expected_loss: float | None = None,
        rules: Sequence[Rule] = RULES,
    ) -> None:
        self.course = Course(expected_loss=expected_loss)
        self.counts: dict[str, int] = {}
        self._ignore, self._rules = tuple(ignore), tuple(rules)
        self._pending: dict[Place, Pending] = {}
        self._findings: dict[Place, Finding] = {}

    @property
    def report(self) -> HealthReport:
        """Findings up to now."""
        findings = sorted(self._findings.values(), key=by_severity)
        return HealthReport(tuple(findings), self.course.judged)

    def judge(self, observation: Observation) -> None:
        """Judges a due step; `counts` then has the number of places of each rule that is broken, or ever was."""
        self.course = advance(self.course, observation)
        counts = dict.fromkeys(self.counts, 0)
        for rule in self._rules:
            violations = [
                violation
                for violation in rule.find(self.course, rule)
                if not self._is_ignored(rule, violation)
            ]
            number = self._note(rule, violations, observation.step)
            if number:
                counts[rule.name] = number
        self.counts = counts

    def add_nonfinite(self, began: Nonfinite, step: int) -> None:
        """Adds the place where NaN or infinities began, also between due steps; the first one stays."""
        if self.course.nonfinite is not None:
            return
        self.course = replace(self.course, nonfinite=began)
        count = float(began.count)
        violation = Violation(began.where, "fail", began.message, count, 0.0)
        self.add("nonfinite", violation, step)

    def add(self, name: str, violation: Violation, step: int) -> None:
        """Adds what was seen between due steps to the findings.

        Args:
            name: Name of the rule.
            violation: What was seen.
            step: Step at which it was.
        """
        rule = next(rule for rule in self._rules if rule.name == name)
        if not self._is_ignored(rule, violation):
            finding = self._finding(rule, violation, step, step)
            self._findings[name, violation.where] = finding
            self.counts[name] = max(1, self.counts.get(name, 0))

    def _note(self, rule: Rule, violations: Iterable[Violation], step: int) -> int:
        """Counts the places at which a rule is broken for long enough, and updates their findings."""
        broken: set[Place] = set()
        number = 0
        for violation in violations:
            place = rule.name, violation.where
            broken.add(place)
            pending = self._pending.setdefault(place, Pending(step))
            pending.times += 1
            hold = 1 if violation.is_certain else rule.hold
            if place in self._findings or pending.times >= hold:
                self._findings[place] = self._finding(
                    rule, violation, pending.step, step
                )
                number += 1
        for place in [place for place in self._pending if place[0] == rule.name]:
            if place not in broken:
                del self._pending[place]
        return number

    def _finding(
        self, rule: Rule, violation: Violation, first: int, last: int
    ) -> Finding:
        earlier = self._findings.get((rule.name, violation.where))
        severity = violation.severity
        if earlier is not None:
            first = earlier.step
            if SEVERITIES.index(earlier.severity) > SEVERITIES.index(severity):
                return replace(earlier, last_step=last)
        return Finding(
            rule.name,
            severity,
            violation.where,
            first,
            last,
            finite_or_none(violation.value),
            finite_or_none(violation.limit),
            violation.message,
            violation.remedy or rule.remedy,
        )

    def _is_ignored(self, rule: Rule, violation: Violation) -> bool:
        for entry in self._ignore:
            name, _, pattern = entry.partition(":")
            if name == rule.name and (
                not pattern or fnmatchcase(violation.where, pattern)
            ):
                return True
        return False

    def state(self) -> dict[str, Any]:
        """Returns what a resumed run goes on with, in plain types."""
        findings = [each.to_dict() for each in self._findings.values()]
        return {"course": self.course.state(), "findings": findings}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on with the report of an earlier run."""
        self.course = Course.from_state(state["course"], self.course.expected_loss)
        findings = [Finding(**fields) for fields in state["findings"]]
        self._findings = {(each.rule, each.where): each for each in findings}
        self.counts = dict.fromkeys((each.rule for each in findings), 0)
