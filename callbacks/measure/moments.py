"""Moments: count, mean, spread and extremes of a set of values, which add up over calls, batches and ranks."""

import math
from dataclasses import dataclass

from torch import Tensor

from .pieces import sum_pieces


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean, spread and extremes of the finite values of a tensor.

    Attributes:
        count: Number of finite values.
        mean: Mean of the finite values; 0 if there are none.
        squares: Sum of their squared deviations from the mean.
        low: Lowest finite value; +inf if there are none.
        high: Highest finite value; -inf if there are none.
        nonfinite: Number of NaN and infinite values.

    Example:
        >>> import torch
        >>> both = Moments.of(torch.tensor([1.0, 2.0, 3.0])) + Moments.of(torch.tensor([float("nan"), 6.0]))
        >>> both.count, both.mean, both.nonfinite
        (4, 3.0, 1)
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    nonfinite: int = 0

    @classmethod
    def of(cls, values: Tensor) -> "Moments":
        """Measures a CPU tensor of any floating point type, shape and strides."""
        return cls(*sum_pieces(values))

    @property
    def std(self) -> float | None:
        """Standard deviation with Bessel's correction, as `torch.std`.

        None of fewer than two values, and of float64 values with squares out of range (beyond 1e154, below 1e-154).
        """
        if (
            self.count < 2
            or not math.isfinite(self.squares)
            or (self.squares == 0 and self.low < self.high)
        ):
            return None
        return math.sqrt(self.squares / (self.count - 1))

    @property
    def norm(self) -> float:
        """L2 norm."""
        return math.sqrt(self.squares + self.count * self.mean * self.mean)

    @property
    def magnitude(self) -> float:
        """Largest absolute value; 0 if there are no finite values."""
        return max(-self.low, self.high) if self.count else 0.0

    def __add__(self, other: "Moments") -> "Moments":
        """Pools two sets of values, with the distance of their means (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        fraction = other.count / count if count else 0.0
        distance = other.mean - self.mean
        return Moments(
            count,
            self.mean + distance * fraction,
            self.squares + other.squares + distance * distance * self.count * fraction,
            min(self.low, other.low),
            max(self.high, other.high),
            self.nonfinite + other.nonfinite,
        )


def log10_ratio(change: Moments, after: Moments) -> float | None:
    """Returns log10( std(change) / std(after) ); None where one of the two is zero or undefined."""
    std_of_change, std_after = change.std, after.std
    if not std_of_change or not std_after:
        return None
    return math.log10(std_of_change) - math.log10(std_after)
