"""Display bins beside NumPy and TensorBoard's own program."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.plugins.distribution.compressor import compress_histogram_proto
from torch import Tensor
from values import any_tensor

from callbacks.measure.histogram import Histogram
from callbacks.report.display_bins import CELLS, LEVELS, PEAK, display_bins
from callbacks.report.tensorboard import record_summary

SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda x: x,
    "saturated": lambda x: torch.tanh(3 * x),
    "zeros": torch.relu,
    "far out": lambda x: x**3,
    "one side": lambda x: torch.exp(2 * x),
    "two hills": lambda x: torch.where(x > 0, x + 8, x - 8),
    "an outlier": lambda x: torch.cat([x, torch.tensor([1e4])]),
}
MOST_BINS = 2 * (CELLS + len(LEVELS) + 2 * (1 / PEAK + 4))


def bins_of(values: Tensor) -> tuple[np.ndarray, np.ndarray]:
    ((limits, counts),) = display_bins([Histogram.of(values)])
    return np.array(limits), np.array(counts)


def normal_values() -> Tensor:
    return torch.randn(6400, generator=torch.Generator().manual_seed(1))


@given(values=any_tensor())
def test_no_value_is_lost(values: Tensor) -> None:
    histogram = Histogram.of(values)
    if not histogram.moments.count:
        return
    limits, counts = bins_of(values)
    assert counts.sum() == histogram.moments.count
    assert (np.diff(limits) >= 0).all()
    assert limits[-1] == histogram.moments.high
    assert len(limits) <= MOST_BINS


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_counts_agree_with_numpy_at_the_same_edges(spread: float) -> None:
    values = torch.tanh(torch.randn(5000) * spread)
    limits, counts = bins_of(values)
    numbers = values.double().numpy()
    # A value on an edge belongs to the bin further from zero.
    below = [
        (numbers < limit).sum() if limit > 0 else (numbers <= limit).sum()
        for limit in limits[:-1]
    ]
    assert np.cumsum(counts)[:-1].tolist() == below


@pytest.mark.parametrize("exactly_one", [0, 3])
def test_saturated_ends_have_bins_of_their_own(exactly_one: int) -> None:
    """Five of ten thousand values are far from being a peak."""
    end = [torch.full((4,), 0.991), torch.full((5,), 0.995), torch.ones(exactly_one)]
    values = torch.cat([torch.linspace(-0.9, 0.9, 10_000), *end])
    expected = [5, exactly_one] if exactly_one else [5]
    assert bins_of(values)[1][-len(expected) :].tolist() == expected
    assert bins_of(-values)[1][: len(expected)].tolist() == expected[::-1]


def test_one_extreme_value_keeps_its_place() -> None:
    values = torch.cat([torch.linspace(-0.98, 0.98, 1000), torch.ones(1)])
    limits, counts = bins_of(values)
    assert (limits[-3] < 0.985, limits[-2:].tolist(), counts[-1]) == (
        True,
        [1.0, 1.0],
        1.0,
    )
    limits, counts = bins_of(-values)
    assert (limits[0], counts[0]) == (-1.0, 1.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_quantiles_that_tensorboard_draws(shape: str) -> None:
    """TensorBoard's compressor finds the quantiles within a fiftieth of the middle two thirds."""
    values = SHAPES[shape](normal_values())
    (written,) = record_summary({"activation/a": Histogram.of(values)}).value
    points, quantiles = np.transpose(compress_histogram_proto(written.histo))
    expected = np.percentile(
        values.double().numpy(), points / 100, method="inverted_cdf"
    )
    spread = expected[6] - expected[2]
    assert quantiles == pytest.approx(expected, abs=spread / 50)
    assert len(written.histo.bucket) <= 24


def test_quantiles_of_integers() -> None:
    """The gaps between integers stay empty, although they are narrower than a cell."""
    values = (3 * normal_values()).round()
    (written,) = record_summary({"activation/a": Histogram.of(values)}).value
    points, quantiles = np.transpose(compress_histogram_proto(written.histo))
    expected = np.percentile(
        values.double().numpy(), points / 100, method="inverted_cdf"
    )
    assert quantiles == pytest.approx(expected, abs=0.1)


def test_a_peak_keeps_its_place() -> None:
    limits, counts = bins_of(
        torch.cat([torch.linspace(-0.2, 1.7, 900), torch.zeros(100)])
    )
    (peak,) = np.flatnonzero(counts == 100)
    assert limits[peak - 1 : peak + 1] == pytest.approx([0, 0], abs=1e-14)


def test_peaks_side_by_side_keep_their_gap() -> None:
    limits, counts = bins_of(torch.tensor([0.0, 1.0, 1000.0]).repeat(3))
    (second,) = np.flatnonzero(limits == 1 + 1 / 64)
    assert counts[second - 2 : second + 1].tolist() == [3, 0, 3]
    assert limits[second - 1] == 1


def test_the_largest_doubles() -> None:
    limits, counts = bins_of(torch.tensor([-1.7e308, 0, 1.7e308], dtype=torch.float64))
    assert limits[[0, -1]].tolist() == [-65536, 1.7e308]
    assert counts[counts > 0].tolist() == [1, 1, 1]


def test_a_wide_gap_is_an_empty_bin() -> None:
    values = torch.cat([torch.linspace(-1, -0.9, 500), torch.linspace(0.9, 1, 500)])
    limits, counts = bins_of(values)
    (gap,) = np.flatnonzero(counts == 0)
    assert limits[gap - 1] == pytest.approx(-0.9, abs=0.01)
    assert limits[gap] == pytest.approx(0.9, abs=0.01)


@given(tensors=st.lists(any_tensor(), max_size=4))
def test_many_together_are_each_as_alone(tensors: list[Tensor]) -> None:
    histograms = [
        histogram for histogram in map(Histogram.of, tensors) if histogram.moments.count
    ]
    alone = [display_bins([histogram])[0] for histogram in histograms]
    assert display_bins(histograms) == alone


def test_all_shapes_together_are_each_as_alone() -> None:
    constant, one_exact = (
        torch.full((9,), 0.3),
        torch.cat([torch.linspace(-0.9, 0.9, 1000), -torch.ones(1)]),
    )
    shapes = [shape(normal_values()) for shape in SHAPES.values()]
    histograms = [Histogram.of(values) for values in (*shapes, constant, one_exact)]
    alone = [display_bins([histogram])[0] for histogram in histograms]
    assert display_bins(histograms) == alone
