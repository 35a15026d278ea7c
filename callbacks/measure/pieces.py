"""Sums over one large CPU tensor, piece by piece, so that each piece is reduced while the CPU's cache holds it."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

PIECE = 2**16
"""Elements of a piece: 256 kB of float32, which a core's L2 cache holds."""

CANCELLED = 1 / 3
"""Below this fraction of the sum of squares, the squared deviations have lost digits to cancellation."""

SAFE = (1e-15, 1e15)
"""Magnitudes whose squares, and sums of them, neither overflow nor underflow in float32."""


class Sums(NamedTuple):
    """Constructor arguments of `Moments`, in its order."""

    number: int
    mean: float
    squares: float
    low: float
    high: float
    nonfinite: int


def widened(values: Tensor) -> Tensor:
    """Converts half precision and smaller types to float32; float32 and float64 stay."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def plain(values: Tensor) -> Tensor:
    """Returns values without autograd graph, lazy conjugation or lazy negation."""
    return values.detach().resolve_conj().resolve_neg()


def split_into_pieces(values: Tensor) -> Iterator[Tensor]:
    """Yields flat pieces of a CPU tensor, `(PIECE,)` at most, float32 or float64."""
    flat = plain(values).reshape(-1)
    return map(widened, flat.split(PIECE) if flat.numel() > PIECE else (flat,))


def sum_pieces(values: Tensor, visit: Callable[[Tensor], None] | None = None) -> Sums:
    """Measures moments, in one pass over the tensor where its mean is no larger than its spread.

    PyTorch adds in single precision by pairs, so that a piece is exact to 1e-7; pieces add up in float64.

    Args:
        values: CPU tensor, any floating point type, shape and strides.
        visit: Called with every piece while the cache holds it.
    """
    if not values.numel():
        return Sums(0, 0.0, 0.0, math.inf, -math.inf, 0)
    total, squares, low, high = 0.0, 0.0, math.inf, -math.inf
    buffer = _buffer(values)
    for piece in split_into_pieces(values):
        lowest, highest = torch.aminmax(piece)
        low, high = min(low, float(lowest)), max(high, float(highest))
        total += float(piece.sum())
        squares += float(torch.mul(piece, piece, out=buffer[: len(piece)]).sum())
        if visit is not None:
            visit(piece)
    if not math.isfinite(total):
        return _sums_of_finite_values(values)
    return _finish(values, total, squares, low, high)


def _buffer(values: Tensor) -> Tensor:
    """Returns room for the squares of a piece; a new one for each would cost page faults."""
    dtype = torch.float64 if values.dtype == torch.float64 else torch.float32
    return torch.empty(min(PIECE, values.numel()), dtype=dtype)


def _sums_of_finite_values(values: Tensor) -> Sums:
    flat = widened(plain(values).reshape(-1))
    finite = flat[flat.isfinite()]
    if finite.numel() < flat.numel():
        return sum_pieces(finite)._replace(nonfinite=flat.numel() - finite.numel())
    # Finite values whose sum is beyond the range of their type.
    low, high = (float(extreme) for extreme in torch.aminmax(flat))
    centre = float((flat.double() / flat.numel()).sum())
    mean, deviations = _deviations_from(centre, flat)
    return Sums(flat.numel(), mean, deviations, low, high, 0)


def _finish(
    values: Tensor, total: float, squares: float, low: float, high: float
) -> Sums:
    count = values.numel()
    mean = total / count
    if low == high:  # no spread at all, whatever the sums were rounded to
        return Sums(count, low, 0.0, low, high, 0)
    deviations = squares - total * mean
    in_range = SAFE[0] < max(-low, high) < SAFE[1]
    if not in_range or deviations < CANCELLED * squares:
        mean, deviations = _deviations_from(mean, values)
    return Sums(count, mean, deviations, low, high, 0)


def _deviations_from(centre: float, values: Tensor) -> tuple[float, float]:
    """Returns the mean and the squared deviations from it, by a pass in float64 over `values - centre`."""
    total = squares = 0.0
    buffer = torch.empty(min(PIECE, values.numel()), dtype=torch.float64)
    for piece in split_into_pieces(values):
        deviations = buffer[: len(piece)].copy_(piece).sub_(centre)
        total += float(deviations.sum())
        squares += float(deviations.dot(deviations))
    offset = total / values.numel()
    if not math.isfinite(squares):  # float64 beyond 1e154
        return centre + offset, math.inf
    return centre + offset, max(0.0, squares - total * offset)
