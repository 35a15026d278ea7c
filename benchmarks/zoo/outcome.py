"""Outcome: what was reported about one run of a case."""

from dataclasses import asdict, dataclass, field
from typing import Any

MOST_SEVERE = 3
"""Findings that are compared with the cause; whoever reads a report reads these."""


@dataclass
class Outcome:
    """Report on one run of a case, beside what should be reported.

    Attributes:
        kind: "healthy", "fault" or "mutation".
        case: Name of the fault or the mutation; of the model where healthy.
        model: Name of the model.
        seed: Seed of the run.
        verdict: "ok", "warn", "fail", or "error" if the fit raised.
        findings: Findings, the most severe first.
        rules: Names of the rules that name the cause.
        places: Names of the layers where it is; "" = the whole model.
        nan_steps: Steps at which the first NaN may be reported; empty if there is none.
        seconds: Time of the fit.
        bare_seconds: Time of the same fit without a watcher; 0 if it was not measured.
    """

    kind: str
    case: str
    model: str
    seed: int
    verdict: str
    findings: list[dict[str, Any]] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    nan_steps: list[int] = field(default_factory=list)
    seconds: float = 0.0
    bare_seconds: float = 0.0
    error: str = ""

    @property
    def alarms(self) -> list[dict[str, Any]]:
        """Findings that are more than notes."""
        return [each for each in self.findings if each["severity"] != "note"]

    @property
    def top(self) -> list[dict[str, Any]]:
        """The alarms that are compared with the cause."""
        return self.alarms[:MOST_SEVERE]

    @property
    def is_noticed(self) -> bool:
        """True if the verdict is not ok."""
        return self.verdict in ("warn", "fail")

    @property
    def has_rule(self) -> bool:
        """True if a rule that names the cause is among the top alarms."""
        return any(each["rule"] in self.rules for each in self.top)

    @property
    def has_place(self) -> bool:
        """True if a place of the cause is among the top alarms."""
        return any(self.is_place(each["where"]) for each in self.top)

    @property
    def has_both(self) -> bool:
        """True if one of the top alarms has rule and place."""
        pairs = [(each["rule"] in self.rules, each["where"]) for each in self.top]
        return any(right and self.is_place(where) for right, where in pairs)

    @property
    def has_first_nan(self) -> bool:
        """True if the first alarm of a NaN has its step and its layer."""
        nans = [each for each in self.alarms if each["rule"] == "nonfinite"]
        first = min(nans, key=lambda each: each["step"], default=None)
        if first is None or first["step"] not in self.nan_steps:
            return False
        return self.is_place(first["where"])

    def is_place(self, where: str) -> bool:
        """True of a place of the cause: its name, or that of a parameter or an operation in it."""
        inside = any(where.startswith(f"{place}.") for place in self.places if place)
        return inside or where in self.places

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields for JSON."""
        return asdict(self)
