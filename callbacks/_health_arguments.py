"""Arguments of HealthCheck that no other instrument has, checked."""

import math

from ._messages import InstrumentError
from .health.catalogue import NAMES

ON_FAIL = ("report", "stop", "raise")


def check_ignore(ignore: list[str] | None) -> list[str] | None:
    """Returns the rules that are not judged.

    Raises:
        InstrumentError: If it is no list of rules, or of "rule:pattern"; lists the rules.
    """
    if ignore is None:
        return None
    if isinstance(ignore, str) or not all(isinstance(entry, str) for entry in ignore):
        raise InstrumentError(
            f"ignore must be None or a list of rules such as ['dead_units'], got {ignore!r}"
        )
    for entry in ignore:
        if entry.partition(":")[0] not in NAMES:
            raise InstrumentError(
                f"ignore: there is no rule {entry.partition(':')[0]!r}; rules are: {', '.join(NAMES)}"
            )
    return list(ignore)


def check_expected_loss(expected_loss: float | None) -> None:
    """Checks the loss of an untrained model.

    Raises:
        InstrumentError: If it is no positive number.
    """
    if expected_loss is None:
        return
    is_number = isinstance(expected_loss, int | float) and not isinstance(
        expected_loss, bool
    )
    if not is_number or not 0 < expected_loss < math.inf:
        raise InstrumentError(
            f"expected_loss must be None or a positive number such as 2.3, got {expected_loss!r}"
        )


def check_on_fail(on_fail: str) -> str:
    """Returns what a failure does.

    Raises:
        InstrumentError: If it is none of `ON_FAIL`.
    """
    if on_fail not in ON_FAIL:
        raise InstrumentError(
            f"on_fail must be one of {', '.join(ON_FAIL)}, got {on_fail!r}"
        )
    return on_fail
