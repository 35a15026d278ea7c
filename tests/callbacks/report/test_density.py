"""Tests of density curves: their axis, linear or logarithmic, and what is left out."""

import math

import numpy as np
import pytest
import torch

from callbacks.measure.histogram import Histogram
from callbacks.report.density import (
    POINTS,
    SPIKE,
    DensityAxis,
    choose_axis,
    choose_heights,
    density,
    magnitude_quantile,
    without,
    zero_fraction,
)


def normal(std: float, count: int = 5000) -> Histogram:
    generator = torch.Generator().manual_seed(0)
    return Histogram.of(
        torch.randn(count, generator=generator, dtype=torch.float64) * std
    )


def area(histogram: Histogram, axis: DensityAxis) -> float:
    values, densities = density(histogram, axis)
    places = np.log10(values) if axis.is_log else values
    return float((densities * (places[1] - places[0])).sum())


def test_each_density_covers_an_area_of_one() -> None:
    layers = [
        Histogram.of(torch.tanh(torch.randn(5000))),
        Histogram.of(torch.tanh(3 * torch.randn(5000))),
    ]
    axis = choose_axis(layers)
    for layer in layers:
        assert len(density(layer, axis)[0]) == POINTS
        assert area(layer, axis) == pytest.approx(1, abs=1e-6)


def test_an_outlier_does_not_squeeze_the_rest() -> None:
    values = torch.cat([torch.randn(100_000), torch.tensor([1e4])])
    assert choose_axis([Histogram.of(values)]).limits[1] < 10


@pytest.mark.parametrize(
    "values",
    [[0.0] * 5, [3.0] * 7, [1.0], [1e30, -1e30], [5e-324], [5e-324, 1.7e308]],
)
def test_values_without_spread_have_an_axis(values: list[float]) -> None:
    histogram = Histogram.of(torch.tensor(values, dtype=torch.float64))
    axis = choose_axis([histogram])
    low, high = axis.limits
    assert low < high
    places, densities = density(histogram, axis)
    assert np.isfinite(places).all()
    assert np.isfinite(densities).all()
    assert axis.without_zeros or densities.max() > 0 or values == [5e-324]
    (lowest, highest), is_log = choose_heights([(places, densities)], axis)
    assert lowest < highest < math.inf
    assert lowest > 0 or not is_log


@pytest.mark.parametrize(
    ("stds", "is_log"),
    [
        ((1.0, 1.0), False),
        ((1.0, 0.1), False),
        ((1.0, 0.01), True),
        ((1e-1, 1e-2, 1e-4, 1e-6), True),
        ((1e-6, 2e-6), False),
        ((1e7, 2e7), True),  # in one bin of the histogram
        ((1.0, 0.0), False),  # a layer that is switched off has no scale
    ],
)
def test_axis_is_logarithmic_where_scales_differ(
    stds: tuple[float, ...], is_log: bool
) -> None:
    axis = choose_axis([normal(std) for std in stds])
    assert axis.is_log == is_log
    assert axis.without_zeros == (0.0 in stds)


def test_on_a_logarithmic_axis_all_layers_are_equally_high() -> None:
    layers = [normal(10.0**-exponent) for exponent in range(7)]
    axis = choose_axis(layers)
    for exponent, layer in enumerate(layers):
        values, densities = density(layer, axis)
        assert area(layer, axis) == pytest.approx(1, abs=0.03)
        assert densities.max() == pytest.approx(1.1, abs=0.25)
        assert 0.3 < values[densities.argmax()] / 10.0**-exponent < 3


def test_zeros_of_relu_are_left_out() -> None:
    values = torch.relu(torch.randn(4000, dtype=torch.float64))
    histogram = Histogram.of(values)
    axis = choose_axis([histogram])
    assert (axis.is_log, axis.without_zeros) == (False, True)
    assert area(histogram, axis) == pytest.approx(
        1 - zero_fraction(histogram), abs=0.01
    )
    assert density(histogram, axis)[1].max() < 1
    none_left = density(Histogram.of_zeros(9), axis)
    assert [len(each) for each in none_left] == [0, 0]


def test_a_few_zeros_are_values_like_any_other() -> None:
    values = torch.randn(1000)
    values[:30] = 0.0
    histogram = Histogram.of(values)
    assert not choose_axis([histogram]).without_zeros
    assert without(histogram).counts.sum() == 970


def test_peaks_do_not_hide_other_curves() -> None:
    saturated = Histogram.of(torch.tanh(torch.randn(5000) * 20))
    curves = [saturated, Histogram.of(torch.tanh(torch.randn(5000) / 3))]
    axis = choose_axis(curves)
    assert not axis.is_log
    (low, high), is_log = choose_heights([density(each, axis) for each in curves], axis)
    assert is_log
    assert 0 < low < 0.1
    assert high > 20
    healthy = density(curves[1], axis)
    assert choose_heights([healthy], axis)[1] is False


def test_magnitude_quantile() -> None:
    values = torch.tensor([-4.0, 1.0, 2.0, -3.0], dtype=torch.float64)
    histogram = Histogram.of(values)
    for fraction, magnitude in ((0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4)):
        assert magnitude_quantile(histogram, fraction) == pytest.approx(magnitude, 0.02)
    assert SPIKE > 1
