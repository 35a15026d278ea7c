"""Tests of the card's numbers: grids of layers by steps, scales of colors, and profiles over depth."""

import math

import numpy as np
import pytest

from callbacks._card import as_grid, lines_of, panels_of, positive_limits, profile_of

NUMBERS = {
    "activation_std/net.1": ([0, 10, 20], [1.0, 0.5, 0.25]),
    "activation_std/net.3": ([0, 20], [2.0, 4.0]),
    "activation_std_of_others": ([0], [9.0]),
    "saturation/net.1": ([], []),
}


def test_layers_are_those_of_the_plot() -> None:
    assert list(lines_of(NUMBERS, "activation_std")) == ["net.1", "net.3"]
    assert not lines_of(NUMBERS, "saturation")


def test_steps_of_all_layers_are_columns() -> None:
    steps, grid = as_grid(lines_of(NUMBERS, "activation_std"))
    assert steps == [0, 10, 20]
    np.testing.assert_array_equal(grid, [[1.0, 0.5, 0.25], [2.0, np.nan, 4.0]])


def test_only_what_was_measured_has_a_panel() -> None:
    (panel,) = panels_of(NUMBERS)
    assert (panel.plot, panel.layers) == ("activation_std", ["net.1", "net.3"])
    assert panel.is_log
    assert panel.limits == pytest.approx((0.25, 4.0), rel=0.02)


def test_steps_with_nan_are_columns() -> None:
    """A layer whose outputs are all NaN has no other number: its last finite one is not the end of the picture."""
    counts = {"nonfinite/net.3": ([10, 20, 30, 40], [0.0, 1.0, 8.0, 8.0])}
    (panel,) = panels_of(NUMBERS | counts)
    assert panel.steps == [0, 10, 20, 30, 40]
    nan = np.nan
    expected = [[1.0, 0.5, 0.25, nan, nan], [2.0, nan, 4.0, nan, nan]]
    np.testing.assert_array_equal(panel.grid, expected)


def test_profiles_are_of_the_first_and_the_last_step() -> None:
    profile = profile_of(NUMBERS, "activation_std")
    assert (profile.first, profile.last) == ([1.0, 2.0], [0.25, 4.0])


@pytest.mark.parametrize("values", [[0.0, -1.0], [math.nan, math.inf], []])
def test_a_logarithmic_scale_of_nothing_positive(values: list[float]) -> None:
    assert positive_limits(np.array(values)) == (0.1, 1.0)


def test_layers_that_are_alike_have_like_colors() -> None:
    low, high = positive_limits(np.array([0.62, 0.65]))
    assert high / low == pytest.approx(10)
    assert low * high == pytest.approx(0.62 * 0.65)


def test_what_is_not_positive_does_not_set_the_scale() -> None:
    low, high = positive_limits(np.array([0.0, 0.01, 2.0, math.inf, math.nan]))
    assert 0.009 < low < 0.01
    assert 2.0 < high < 2.1
