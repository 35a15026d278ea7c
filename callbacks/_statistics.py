"""What is measured of a tensor: figures of fixed size, whatever its shape, type and device.

In main memory a tensor becomes a small frozen value (`Moments`, ...) at once. On a device it becomes, without waiting
for that device, a few numbers (`sum_moments`, ...), which become that value once they are on the host. Values add up:
over the calls of a layer, the micro-batches of a step and the processes of a run.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

SAFE = (1e-15, 1e15)
"""Magnitudes whose squares, and sums of them, neither overflow nor underflow in float32."""

PIECE = 2**16
"""Elements looked at together on a CPU: what stays in its cache while all is counted of it."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean, spread and extremes of the finite values among those seen.

    Attributes:
        count: How many were finite.
        mean: Their mean; 0 if there are none.
        squares: Sum of their squared deviations from the mean.
        low: The lowest; +inf if there are none.
        high: The highest; -inf if there are none.
        nonfinite: How many were NaN or infinite.

    Example:
        >>> seen = Moments.of(torch.tensor([1.0, 2.0, 3.0])) + Moments.of(torch.tensor([float("nan"), 6.0]))
        >>> seen.count, seen.mean, seen.nonfinite
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
        """Measures a tensor in main memory."""
        return measure_moments(Pieces(values))

    @property
    def std(self) -> float | None:
        """Standard deviation with Bessel's correction, as `torch.std`; None of fewer than two values."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else None

    @property
    def norm(self) -> float:
        """The L2 norm."""
        return math.sqrt(self.squares + self.count * self.mean * self.mean)

    def __add__(self, other: "Moments") -> "Moments":
        """Pools two sets of values (Chan, Golub and LeVeque 1979): also when their means differ."""
        count = self.count + other.count
        share = other.count / count if count else 0.0
        apart = other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * share,
            self.squares + other.squares + apart * apart * self.count * share,
            min(self.low, other.low),
            max(self.high, other.high),
            self.nonfinite + other.nonfinite,
        )


class MomentSums(NamedTuple):
    """What becomes `Moments`, still on its device.

    The moments are those of `scale * (shift + d)`, where d are deviations small enough to be squared and summed in
    single precision.
    """

    numel: int
    sums: Tensor
    """`(6,)`: scale, shift, sum of d, sum of d * d, lowest, highest value."""
    nonfinite: Tensor
    """`()`, int64."""

    def value(self) -> Moments:
        """Reads the numbers, which waits for the device unless they are on the host."""
        scale, shift, total, squares, low, high = self.sums.tolist()
        nonfinite = int(self.nonfinite)
        count = self.numel - nonfinite
        if count <= 0:
            return Moments(nonfinite=nonfinite)
        if low == high:  # exactly without spread, whatever the sums were rounded to
            return Moments(count, low, 0.0, low, high, nonfinite)
        # What the first mean missed is put right here, in double precision.
        missed = total / count
        deviations = max(0.0, squares - total * missed)
        return Moments(count, scale * (shift + missed), scale * scale * deviations, low, high, nonfinite)


class Pieces:
    """A tensor in main memory, cut into pieces: flat, of float32 or float64, and small enough for the cache.

    Args:
        values: Any shape and strides, any floating point type.
    """

    def __init__(self, values: Tensor) -> None:
        self.flat = bare(values).reshape(-1)
        self.numel = self.flat.numel()
        self.dtype = torch.float64 if values.dtype == torch.float64 else torch.float32

    def __iter__(self) -> Iterator[Tensor]:
        if self.numel <= PIECE:
            return iter((widened(self.flat),))
        return map(widened, self.flat.split(PIECE))

    def whole(self) -> Tensor:
        """Returns all of it at once."""
        return torch.cat(list(self))


class ChangePieces(Pieces):
    """The difference of two tensors, taken in float32 or float64, and never there as a whole.

    Args:
        after: Any floating point type.
        before: Of the same type and shape.
    """

    def __init__(self, after: Tensor, before: Tensor) -> None:
        super().__init__(after)
        self.before = Pieces(before)

    def __iter__(self) -> Iterator[Tensor]:
        return (after - before for after, before in zip(super().__iter__(), self.before, strict=True))


class ScaledPieces(Pieces):
    """Pieces divided by a number.

    Args:
        pieces: Of any magnitude.
        scale: A power of two, so that nothing is rounded but what is very small beside the others.
    """

    def __init__(self, pieces: Pieces, scale: float) -> None:
        self.pieces, self.scale = pieces, scale
        self.numel, self.dtype = pieces.numel, pieces.dtype

    def __iter__(self) -> Iterator[Tensor]:
        return (piece / self.scale for piece in self.pieces)


def measure_moments(pieces: Pieces, also: Callable[[Tensor], None] | None = None) -> Moments:
    """Measures what is in main memory, in one pass where that does: the mean is no larger than the spread.

    Args:
        pieces: What to measure.
        also: Is given every piece while it is in the cache.
    """
    if not pieces.numel:
        return Moments()
    low, high, total, squares = math.inf, -math.inf, 0.0, 0.0
    for piece in pieces:
        lowest, highest = torch.aminmax(piece)
        low, high = min(low, float(lowest)), max(high, float(highest))
        total += float(piece.sum())
        squares += float(piece.dot(piece))
        if also is not None:
            also(piece)
    magnitude = max(-low, high)
    if math.isnan(total) or math.isinf(magnitude):
        return sum_moments(pieces.whole()).value()
    if not (magnitude == 0 or SAFE[0] < magnitude < SAFE[1]):
        return _scaled_moments(pieces, low, high)
    mean = total / pieces.numel
    deviations = squares - total * mean
    if low == high:  # exactly without spread, whatever the sums were rounded to
        mean, deviations = low, 0.0
    elif deviations < total * mean:  # the difference of two larger numbers has lost digits
        mean, deviations = _around(mean, pieces)
    return Moments(pieces.numel, mean, deviations, low, high)


def _scaled_moments(pieces: Pieces, low: float, high: float) -> Moments:
    """Measures finite values that are too large or too small to be squared, as where gradients vanish."""
    _, exponent = math.frexp(max(-low, high))
    scale = max(2.0 ** (exponent - 1), torch.finfo(pieces.dtype).tiny)  # one over less than that is infinite
    scaled = measure_moments(ScaledPieces(pieces, scale))
    return Moments(scaled.count, scale * scaled.mean, scale * (scale * scaled.squares), low, high)


def _around(centre: float, pieces: Pieces) -> tuple[float, float]:
    """Returns the mean, and the sum of squared deviations from it, by a second pass over deviations from a number."""
    shift = float(next(iter(pieces)).new_tensor(centre))  # as it is rounded when it is subtracted
    total = squares = 0.0
    for piece in pieces:
        deviations = piece - shift
        total += float(deviations.sum())
        squares += float(deviations.dot(deviations))
    missed = total / pieces.numel
    return shift + missed, max(0.0, squares - total * missed)


def sum_moments(values: Tensor) -> MomentSums:
    """Sums up what `Moments` needs, in float32, or float64 for float64; waits for no device.

    It has no look at the values from the host: non-finite ones are set aside, the others scaled to 1.

    Args:
        values: Any shape and strides, any floating point type.
    """
    flat = widened(values.detach().reshape(-1))
    if not flat.numel():
        return MomentSums(0, flat.new_zeros(6), torch.zeros((), dtype=torch.int64, device=flat.device))
    finite = flat.isfinite()
    nonfinite = flat.numel() - finite.sum()
    none = flat.new_tensor(math.inf)
    low = torch.where(finite, flat, none).amin()
    high = torch.where(finite, flat, -none).amax()
    scale = power_of_two(torch.maximum(low.abs(), high.abs()))
    zero = flat.new_zeros(())
    scaled = torch.where(finite, flat, zero) / scale
    shift = scaled.sum() / (flat.numel() - nonfinite).clamp(min=1)
    deviations = torch.where(finite, scaled - shift, zero)
    sums = torch.stack([scale, shift, deviations.sum(), deviations.square().sum(), low, high])
    return MomentSums(flat.numel(), sums, nonfinite)


def power_of_two(magnitude: Tensor) -> Tensor:
    """Returns the power of two at or next below a positive number: dividing by one rounds nothing.

    It is the number with an empty mantissa. What has no such power (zero, infinity) has 1, and a subnormal number the
    smallest normal one.
    """
    integer, exponent = {4: (torch.int32, 0xFF << 23), 8: (torch.int64, 0x7FF << 52)}[magnitude.element_size()]
    power = (magnitude.view(integer) & exponent).view(magnitude.dtype).clamp(min=torch.finfo(magnitude.dtype).tiny)
    return torch.where((magnitude > 0) & magnitude.isfinite(), power, torch.ones_like(power))


def bare(values: Tensor) -> Tensor:
    """Returns values without a graph, and without a pending negation, as of the imaginary part of a conjugate."""
    return values.detach().resolve_neg()


def widened(values: Tensor) -> Tensor:
    """Gives half precision and smaller types the range and precision of float32."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def on_host(values: Tensor) -> bool:
    """Tells whether numbers can be read from a tensor without waiting for a device.

    They cannot from one within `torch.func.grad`, until that returns. PyTorch has no public way to ask for either.

    Raises:
        TypeError: Within `torch.func.vmap`, where a tensor stands for many.
    """
    wrappers: Any = torch._C._functorch  # type: ignore[attr-defined]
    if not wrappers.is_functorch_wrapped_tensor(values):
        return values.device.type == "cpu"
    while wrappers.is_functorch_wrapped_tensor(values):
        if wrappers.is_batchedtensor(values):
            raise TypeError("a layer is called within torch.func.vmap, where a tensor stands for many")
        values = wrappers.get_unwrapped(values)
    return False


def log10_ratio(change: Moments, after: Moments) -> float | None:
    """Returns log10(std(change) / std(after)); None where one of them has no spread, so that there is no ratio."""
    if not change.std or not after.std or not math.isfinite(change.std + after.std):
        return None
    return math.log10(change.std) - math.log10(after.std)
