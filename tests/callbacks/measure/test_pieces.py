"""Tests of the pieces in which a large CPU tensor is read."""

import pytest
import torch
from torch import Tensor
from values import float_dtypes

from callbacks.measure.moments import Moments
from callbacks.measure.pieces import (
    PIECE,
    plain,
    split_into_pieces,
    sum_pieces,
    widened,
)


@pytest.mark.parametrize("dtype", [*float_dtypes, torch.float8_e4m3fn])
def test_widened_is_float32_or_float64(dtype: torch.dtype) -> None:
    values = torch.randn(10).to(dtype)
    wide = widened(values)
    assert wide.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert wide.double().equal(values.double())


def test_plain_has_neither_graph_nor_lazy_negation() -> None:
    values = (torch.randn(4, dtype=torch.complex64, requires_grad=True) * 2).conj().imag
    assert values.is_neg()
    assert not plain(values).is_neg()
    assert plain(values).grad_fn is None
    assert torch.equal(plain(values), values.detach().clone())


@pytest.mark.parametrize("shape", [(5,), (PIECE,), (3, PIECE), (7, PIECE // 3 + 1)])
def test_every_value_is_in_one_piece(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape).bfloat16().transpose(0, -1)
    pieces = list(split_into_pieces(values))
    assert max(map(len, pieces)) <= PIECE
    assert torch.equal(torch.cat(pieces), values.float().flatten())


def test_visits_each_piece_once() -> None:
    values = torch.randn(2 * PIECE + 3)
    visited: list[Tensor] = []
    sums = sum_pieces(values, visited.append)
    assert torch.equal(torch.cat(visited), values)
    assert Moments(*sums).count == len(values)
