"""Histograms as they are written for charts, beside NumPy and TensorBoard's own program."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.plugins.distribution.compressor import compress_histogram_proto
from torch import Tensor
from values import any_tensor

from callbacks._chart import CELLS, HEAVY, LEVELS, chart_bins
from callbacks._histogram import Histogram
from callbacks._summary import summary_of_record

SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda x: x,
    "saturated": lambda x: torch.tanh(3 * x),
    "zeros": torch.relu,
    "far out": lambda x: x**3,
    "one side": lambda x: torch.exp(2 * x),
}


def coarse_bins(values: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Right edges and counts as a chart shows them."""
    ((limits, counts),) = chart_bins([Histogram.of(values)])
    return np.array(limits), np.array(counts)


@given(values=any_tensor())
def test_no_value_is_lost(values: Tensor) -> None:
    histogram = Histogram.of(values)
    if not histogram.moments.count:
        return
    limits, counts = coarse_bins(values)
    assert counts.sum() == histogram.moments.count
    assert (np.diff(limits) >= 0).all()
    assert limits[-1] == histogram.moments.high
    assert len(limits) <= 2 * CELLS + len(LEVELS) + 2 / HEAVY + 6


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_agrees_with_numpy_at_its_own_edges(spread: float) -> None:
    values = torch.tanh(torch.randn(5000) * spread)
    limits, counts = coarse_bins(values)
    seen = values.double().numpy()
    # What stands on an edge belongs to the bin further from zero.
    below = [(seen < limit).sum() if limit > 0 else (seen <= limit).sum() for limit in limits[:-1]]
    assert np.cumsum(counts)[:-1].tolist() == below


@pytest.mark.parametrize("exactly_one", [0, 3])
def test_what_is_saturated_stands_apart(exactly_one: int) -> None:
    """Five of ten thousand are nowhere near a share that would get a bin of its own."""
    end = [torch.full((4,), 0.991), torch.full((5,), 0.995), torch.ones(exactly_one)]
    values = torch.cat([torch.linspace(-0.9, 0.9, 10_000), *end])
    expected = [5, exactly_one] if exactly_one else [5]
    assert coarse_bins(values)[1][-len(expected) :].tolist() == expected
    assert coarse_bins(-values)[1][: len(expected)].tolist() == expected[::-1]


def test_one_extreme_value_stays_where_it_is() -> None:
    values = torch.cat([torch.linspace(-0.98, 0.98, 1000), torch.ones(1)])
    limits, counts = coarse_bins(values)
    assert (limits[-3] < 0.985, limits[-2:].tolist(), counts[-2:].tolist()) == (True, [1.0, 1.0], [0.0, 1.0])
    limits, counts = coarse_bins(-values)
    assert (limits[0], limits[1] < -0.975, counts[:2].tolist()) == (-1.0, True, [1.0, 0.0])


@pytest.mark.parametrize("shape", SHAPES)
def test_quantiles_that_tensorboard_draws(shape: str) -> None:
    """Its own program finds them in what is written, within a fiftieth of the middle two thirds."""
    values = SHAPES[shape](torch.randn(6400, generator=torch.Generator().manual_seed(1)))
    (written,) = summary_of_record({"activation/a": Histogram.of(values)}).value
    points, found = np.transpose(compress_histogram_proto(written.histo))
    expected = np.percentile(values.double().numpy(), points / 100, method="inverted_cdf")
    spread = expected[6] - expected[2]
    assert found == pytest.approx(expected, abs=spread / 50)
    assert len(written.histo.bucket) <= 45


def test_a_peak_stays_where_it_is() -> None:
    limits, counts = coarse_bins(torch.cat([torch.linspace(-0.2, 1.7, 900), torch.zeros(100)]))
    (peak,) = np.flatnonzero(counts == 100)
    assert limits[peak - 1 : peak + 1] == pytest.approx([0, 0], abs=1e-14)


def test_of_all_that_a_double_can_hold() -> None:
    limits, counts = coarse_bins(torch.tensor([-1.7e308, 0, 1.7e308], dtype=torch.float64))
    assert limits[[0, -1]].tolist() == [-65536, 1.7e308]
    assert counts[counts > 0].tolist() == [1, 1, 1]


@given(tensors=st.lists(any_tensor(), max_size=4))
def test_many_at_once_are_each_as_alone(tensors: list[Tensor]) -> None:
    histograms = [found for found in map(Histogram.of, tensors) if found.moments.count]
    assert chart_bins(histograms) == [bins for histogram in histograms for bins in chart_bins([histogram])]


def test_all_shapes_at_once() -> None:
    normal = torch.randn(6400, generator=torch.Generator().manual_seed(1))
    constant, one_exact = torch.full((9,), 0.3), torch.cat([torch.linspace(-0.9, 0.9, 1000), -torch.ones(1)])
    histograms = [
        Histogram.of(values) for values in (*(shape(normal) for shape in SHAPES.values()), constant, one_exact)
    ]
    assert chart_bins(histograms) == [bins for histogram in histograms for bins in chart_bins([histogram])]


def test_where_there_are_no_values_the_bin_is_empty() -> None:
    values = torch.cat([torch.linspace(-1, -0.9, 500), torch.linspace(0.9, 1, 500)])
    limits, counts = coarse_bins(values)
    (gap,) = np.flatnonzero(counts == 0)
    assert limits[gap - 1] == pytest.approx(-0.9, abs=0.01)
    assert limits[gap] == pytest.approx(0.9, abs=0.01)
