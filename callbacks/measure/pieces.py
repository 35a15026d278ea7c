"""Sums over one large CPU tensor, piece by piece, so that each piece is reduced while the CPU's cache holds it."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

PIECE = 2**16
"""Elements of a piece: 256 kB of float32, which a core's L2 cache holds."""

CANCELLED = 1e-7
"""Below this fraction of the sum of squares, the squared deviations have lost digits to cancellation."""


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
    """Measures moments in float64, in one pass over the tensor.

    Args:
        values: CPU tensor, any floating point type, shape and strides.
        visit: Called with every piece while the cache holds it.
    """
    if not values.numel():
        return Sums(0, 0.0, 0.0, math.inf, -math.inf, 0)
    total, squares, low, high = 0.0, 0.0, math.inf, -math.inf
    buffer = torch.empty(
        min(PIECE, values.numel()), dtype=torch.float64
    )  # a new one a piece would cost page faults
    with np.errstate(over="ignore", invalid="ignore"):  # float64 beyond 1e154
        for piece in split_into_pieces(values):
            lowest, highest = torch.aminmax(piece)
            low, high = min(low, float(lowest)), max(high, float(highest))
            numbers = buffer[: len(piece)].copy_(piece)
            total += float(numbers.sum())
            squares += float(numbers.dot(numbers))
            if visit is not None:
                visit(piece)
    if not math.isfinite(total):
        return _sums_of_finite_values(values)
    return _finish(values, total, squares, low, high)


def _sums_of_finite_values(values: Tensor) -> Sums:
    flat = widened(plain(values).reshape(-1))
    finite = flat[flat.isfinite()]
    if finite.numel() < flat.numel():
        return sum_pieces(finite)._replace(nonfinite=flat.numel() - finite.numel())
    # Finite float64 values whose sum is beyond the range of float64.
    low, high = torch.aminmax(flat)
    return Sums(
        flat.numel(),
        float((flat / flat.numel()).sum()),
        math.inf,
        float(low),
        float(high),
        0,
    )


def _finish(
    values: Tensor, total: float, squares: float, low: float, high: float
) -> Sums:
    count = values.numel()
    mean = total / count
    if low == high:  # no spread at all, whatever the sums were rounded to
        return Sums(count, low, 0.0, low, high, 0)
    deviations = squares - total * mean
    if deviations < CANCELLED * squares:
        mean, deviations = _deviations_from(mean, values)
    return Sums(count, mean, deviations, low, high, 0)


def _deviations_from(centre: float, values: Tensor) -> tuple[float, float]:
    """Returns the mean and the squared deviations from it, by a second pass over `values - centre`."""
    total = squares = 0.0
    for piece in split_into_pieces(values):
        deviations = piece.double() - centre
        total += float(deviations.sum())
        squares += float(deviations @ deviations)
    offset = total / values.numel()
    return centre + offset, max(0.0, squares - total * offset)
