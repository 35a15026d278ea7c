"""Trigger: the reason for which a bundle is written."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Trigger:
    """Reason for a bundle.

    Attributes:
        kind: "nonfinite", "jump" or "exception".
        step: Step in which it was noticed.
        message: One sentence.
    """

    kind: str
    step: int
    message: str
