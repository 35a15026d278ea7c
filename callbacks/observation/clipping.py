"""Clipping: the norm of all gradients before it, and of those that the optimizer takes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..measure.moments import Moments
from ..measure.statistic import MomentsOf
from ..probe.measurements import Measurements
from ..probe.request import Quantity, Request, Scope

ALL_GRADIENTS = Request(Quantity.WEIGHT_GRAD, MomentsOf(), scope=Scope.ALL)
STEP_NORM = Request(Quantity.STEP_NORM, MomentsOf())

ROUNDING = 1e-6
"""Difference of the two norms, as a fraction, that is no clipping: both are right to a few float32 digits more."""


@dataclass(frozen=True)
class Clipping:
    """Norms of one step.

    Attributes:
        before: L2 norm of the finite gradients of all parameters, unscaled; None if there are none.
        after: L2 norm of the gradients that the optimizer took; None if they were not seen, or are not finite.
        is_active: Whether clipping lowered the norm; None if that cannot be told.
    """

    before: float | None
    after: float | None
    is_active: bool | None


class ClippingCount(NamedTuple):
    """Due steps of a fit of which it is known whether clipping was active.

    Attributes:
        step: Last of them; -1 before the first.
        steps: Number of them.
        active: Those on which it was.

    Example:
        >>> count = ClippingCount().after(0, Clipping(2.0, 1.0, True)).after(1, Clipping(0.5, 0.5, False))
        >>> count.fraction
        0.5
        >>> count.after(0, Clipping(2.0, 1.0, True))  # another fit
        ClippingCount(step=0, steps=1, active=1)
    """

    step: int = -1
    steps: int = 0
    active: int = 0

    @property
    def fraction(self) -> float:
        """Fraction of the steps on which clipping was active, 0 to 1."""
        return self.active / self.steps

    def after(self, step: int, clipping: Clipping) -> "ClippingCount":
        """Returns the count after one more step; a step that is no later than the last begins another fit's."""
        earlier = self if step > self.step else ClippingCount()
        if clipping.is_active is None:
            return earlier
        return ClippingCount(
            step, earlier.steps + 1, earlier.active + clipping.is_active
        )


def clipping_of(measurements: Measurements) -> Clipping:
    """Returns the norms of a step, of which `ALL_GRADIENTS` and `STEP_NORM` were measured."""
    gradients = measurements.of(ALL_GRADIENTS)
    before, after = total_norm(gradients), step_norm(measurements)
    is_partial = any(each.nonfinite for each in gradients.values()) or any(
        key.quantity is Quantity.WEIGHT_GRAD for key in measurements.failed
    )
    if before is None or after is None or is_partial:
        return Clipping(before, after, None)
    change = after - before
    is_equal = abs(change) <= ROUNDING * before
    return Clipping(before, before if is_equal else after, change < 0 and not is_equal)


def total_norm(gradients: Mapping[str, Moments]) -> float | None:
    """Returns the L2 norm of all gradients; None if none of them has a finite value, or if it overflows."""
    norms = [each.norm for each in gradients.values() if each.count]
    return math.hypot(*norms) if norms and all(map(math.isfinite, norms)) else None


def step_norm(measurements: Measurements) -> float | None:
    """Returns the L2 norm of the gradients that the optimizer took; None without, or where it is not finite."""
    norms = measurements.get(Quantity.STEP_NORM, "", MomentsOf())
    if norms is None or norms.nonfinite or not math.isfinite(norms.norm):
        return None
    return norms.norm
