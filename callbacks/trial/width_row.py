"""WidthRow: scale of one layer's activations and updates over widths."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .layer_row import finite_or_none

TOLERANCE = 0.25
"""Slope up to which a scale is called flat: half-way from 0 to 1/2, the smallest slope of a wrong parametrization.

In the theory of wide networks (Yang and Hu 2021; Yang et al. 2022) scales are powers of the width with exponents that
are multiples of 1/2. A measured slope is that of finite widths and few examples, so that it is rounded to the nearest.
"""

Curve = tuple[float, ...]
"""A number a width."""


@dataclass(frozen=True)
class WidthRow:
    """Mean absolute values of one layer, a tuple over widths for each step; means over seeds.

    Attributes:
        layer: Name as in `named_modules()`.
        scales: Of the output, at steps 0, 1, ...
        updates: Of the change of the output on the same batch since step 0, at steps 1, 2, ...
        widths: Widths.
    """

    layer: str
    scales: tuple[Curve, ...]
    updates: tuple[Curve, ...]
    widths: tuple[int, ...]

    @property
    def slope_at_start(self) -> float | None:
        """Slope of the log of the first scale over the log of the width; None where a scale is 0."""
        return slope(self.widths, self.scales[0])

    @property
    def slope(self) -> float | None:
        """The same after the last step."""
        return slope(self.widths, self.scales[-1])

    @property
    def update_slope(self) -> float | None:
        """The same of the last update; None of a single step."""
        return slope(self.widths, self.updates[-1]) if self.updates else None

    @property
    def verdict(self) -> Literal["flat", "grows", "shrinks"]:
        """Change with the width of the scale after the last step, and of the update up to it.

        The scale at step 0 is not judged: that of logits may shrink with the root of the width until they are trained.
        """
        slopes = [each for each in (self.slope, self.update_slope) if each is not None]
        if any(each > TOLERANCE for each in slopes):
            return "grows"
        if any(each < -TOLERANCE for each in slopes):
            return "shrinks"
        return "flat"

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields, the slopes and the verdict; numbers that are not finite become None."""
        fields = asdict(self)
        for name in ("scales", "updates"):
            fields[name] = [list(map(finite_or_none, each)) for each in fields[name]]
        slopes = {
            "slope_at_start": self.slope_at_start,
            "slope": self.slope,
            "update_slope": self.update_slope,
        }
        return {**fields, **slopes, "verdict": self.verdict}


def slope(widths: Sequence[int], scales: Sequence[float]) -> float | None:
    """Returns the least-squares slope of log(scale) over log(width).

    Args:
        widths: At least two different ones.
        scales: One a width.

    Returns:
        The slope; None where a scale is zero or not finite.

    Example:
        >>> round(slope((64, 128, 256), (1.0, 2.0, 4.0)), 6)
        1.0
    """
    if not all(math.isfinite(scale) and scale > 0 for scale in scales):
        return None
    across, up = [math.log(w) for w in widths], [math.log(s) for s in scales]
    mean_across, mean_up = sum(across) / len(across), sum(up) / len(up)
    spread = sum((x - mean_across) ** 2 for x in across)
    pairs = zip(across, up, strict=True)
    return sum((x - mean_across) * (y - mean_up) for x, y in pairs) / spread
