"""Tests of the fixed bins: their edges, and the numbers that are computed from the bits of a float."""

import numpy as np
import pytest
import torch
from hypothesis import given
from numpy_statistics import MAGNITUDES
from torch import Tensor
from values import AWKWARD, any_tensor

from callbacks.measure.bins import (
    AROUND_ZERO,
    BINS,
    EDGES,
    LAYOUTS,
    bins_of_patterns,
    leading_bits,
)
from callbacks.measure.pieces import widened


def test_edges() -> None:
    assert EDGES[AROUND_ZERO + 1 : -1].tolist() == MAGNITUDES.tolist()
    assert np.array_equal(EDGES, -EDGES[::-1])
    assert len(EDGES) == BINS + 1


def numbers_by_comparison(values: np.ndarray) -> np.ndarray:
    place = np.searchsorted(MAGNITUDES, np.abs(values.astype(np.float64)), side="right")
    return AROUND_ZERO + np.where(values < 0, -place, place)


@pytest.mark.parametrize("library", ["NumPy", "torch"])
@given(values=any_tensor())
def test_numbers_are_those_of_a_comparison_with_the_edges(
    library: str, values: Tensor
) -> None:
    wide = widened(values).contiguous().reshape(-1)
    layout = LAYOUTS[wide.dtype]
    if library == "NumPy":
        bins = bins_of_patterns(leading_bits(wide.numpy()), layout)
    else:
        bins = bins_of_patterns(
            wide.view(layout.integer) >> layout.dropped, layout
        ).numpy()
    finite = np.isfinite(wide.numpy())
    assert bins[finite].tolist() == numbers_by_comparison(wide.numpy())[finite].tolist()
    assert ((bins >= 0) & (bins < BINS)).all()


def test_nonfinite_patterns_begin_at_infinity() -> None:
    for dtype, layout in LAYOUTS.items():
        values = torch.tensor(AWKWARD).to(dtype)
        magnitude = (values.view(layout.integer) >> layout.dropped) & (
            layout.patterns - 1
        )
        assert torch.equal(magnitude >= layout.infinity, ~values.isfinite())
