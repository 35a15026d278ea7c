"""Finding: one thing that is wrong in a training, at one place."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["note", "warn", "fail"]

SEVERITIES: tuple[Severity, ...] = ("note", "warn", "fail")
"""From the least severe to the most severe."""


@dataclass(frozen=True)
class Finding:
    """One rule that a training breaks, at one place, however many steps it breaks it at.

    Attributes:
        rule: Name of the rule, such as "saturation".
        severity: "note", "warn" or "fail"; notes never change a verdict.
        where: Name of a layer or parameter as in `named_modules()`; "" = the whole model.
        step: First due step at which the rule was broken.
        last_step: Last due step at which it was.
        value: Number that broke the rule, from the last of these steps; None if there is none.
        limit: Limit of that number; None if there is none.
        message: One sentence with the number.
        remedy: One sentence: what to do.

    Example:
        >>> Finding("saturation", "fail", "act", 0, 100, 0.7, 0.6, "70 % is saturated.", "Scale down.").severity
        'fail'
    """

    rule: str
    severity: Severity
    where: str
    step: int
    last_step: int
    value: float | None
    limit: float | None
    message: str
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields; JSON has no NaN and no infinities, which become None."""
        fields = asdict(self)
        return {name: finite_or_none(value) for name, value in fields.items()}


def finite_or_none(value: Any) -> Any:
    """Returns None of NaN and infinities, which JSON has not; anything else as it is."""
    is_number = isinstance(value, float)
    return None if is_number and not math.isfinite(value) else value


def by_severity(finding: Finding) -> tuple[int, int]:
    """Sorts findings: the most severe first, then the earliest; what began first is mostly the cause."""
    return -SEVERITIES.index(finding.severity), finding.step
