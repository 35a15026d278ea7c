"""Tests of the plot of magnitudes: fractions by octave against NumPy, and the limits of its axis."""

import numpy as np
import pytest
import torch

from callbacks.measure.histogram import Histogram
from callbacks.report.range_plot import RangePlot, fractions_by_octave, shades_of


@pytest.mark.parametrize("scale", [1e-16, 1e-5, 1.0, 3e4])
def test_fractions_are_those_of_numpy(scale: float) -> None:
    values = torch.randn(3000, generator=torch.Generator().manual_seed(0)) * scale
    values[:100] = 0.0
    fractions = fractions_by_octave(Histogram.of(values))
    nonzero = values[values != 0].double().abs().numpy()
    octaves = np.clip(np.floor(np.log2(nonzero)).astype(int), -49, 16) + 49
    assert len(fractions) == 66
    assert fractions * 3000 == pytest.approx(np.bincount(octaves, minlength=66))


def test_shades_show_single_values_and_nothing_where_there_is_nothing() -> None:
    shades = shades_of(np.array([0.0, 1e-9, 1e-4, 0.5, 1.0]))
    assert shades[0] == 0
    assert 0 < shades[1] < shades[2] < shades[3] < shades[4] == 1


def test_the_axis_has_all_values_and_all_formats() -> None:
    def lowest(size: float, *formats: str) -> float:
        histogram = Histogram.of(torch.tensor([1.0, size]))
        return RangePlot("", formats, {"a": histogram}).arguments()["limits"][0]

    assert lowest(0.5, "e4m3") == -10  # smallest number 2**-9
    assert lowest(0.5, "e4m3", "fp16") == -25
    assert lowest(2.0**-30, "e4m3") == -31
    assert lowest(1e-30, "bf16") == -49
    assert lowest(0.5, "bf16") == -2
