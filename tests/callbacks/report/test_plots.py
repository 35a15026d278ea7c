"""Plot data converted into what the figures draw, and the names in their legends."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from callbacks.measure.histogram import Histogram
from callbacks.report.legend import (
    LONGEST_NAME,
    MOST_LINES,
    choose_evenly,
    shorten_names,
)
from callbacks.report.plots import POINTS, Curve, DensityPlot, MapPlot, RatioPlot

BERT = [
    f"bert.encoder.layer.{layer}.intermediate.intermediate_act_fn"
    for layer in range(12)
]


def curve(name: str, values: torch.Tensor) -> Curve:
    return Curve(name, "mean +0.00", Histogram.of(values))


def test_each_density_covers_an_area_of_one() -> None:
    layers = [
        curve("a", torch.tanh(torch.randn(5000))),
        curve("b", torch.tanh(3 * torch.randn(5000))),
    ]
    arguments = DensityPlot("activations at step 0", "activation", layers).arguments()
    assert [label for label, *_ in arguments["lines"]] == [
        "a: mean +0.00",
        "b: mean +0.00",
    ]
    for _, values, densities in arguments["lines"]:
        assert len(values) == POINTS
        assert (densities * (values[1] - values[0])).sum() == pytest.approx(1, abs=1e-6)


def test_an_outlier_does_not_squeeze_the_rest() -> None:
    values = torch.cat([torch.randn(100_000), torch.tensor([1e4])])
    _, highest = DensityPlot("", "", [curve("a", values)]).arguments()["limits"]
    assert highest < 10


@pytest.mark.parametrize(
    "values", [[0.0] * 5, [3.0] * 7, [1.0], [1e30, -1e30], [5e-324]]
)
def test_values_without_spread_have_a_density(values: list[float]) -> None:
    arguments = DensityPlot(
        "", "", [curve("a", torch.tensor(values, dtype=torch.float64))]
    ).arguments()
    ((_, places, densities),) = arguments["lines"]
    low, high = arguments["limits"]
    assert low < high
    assert np.isfinite(places).all()
    assert np.isfinite(densities).all()
    assert densities.max() > 0


def test_of_many_layers_some_are_chosen() -> None:
    arguments = DensityPlot(
        "", "", [curve(str(i), torch.randn(50)) for i in range(100)]
    ).arguments()
    assert (len(arguments["lines"]), arguments["total"]) == (MOST_LINES, 100)
    arguments = RatioPlot("", [0], {str(i): [-3.0] for i in range(100)}).arguments()
    assert (len(arguments["lines"]), arguments["total"]) == (MOST_LINES, 100)
    assert [label for label, _ in arguments["lines"]][:: MOST_LINES - 1] == ["0", "99"]


def test_nothing_to_plot() -> None:
    assert DensityPlot("", "", []).arguments()["lines"] == []
    assert RatioPlot("", [], {}).arguments()["lines"] == []


def test_ratios_keep_their_gaps() -> None:
    ((label, ratios),) = RatioPlot(
        "", [0, 1, 2], {"w": [-2.0, None, -3.5]}
    ).arguments()["lines"]
    assert label == "w"
    assert [math.isnan(ratio) for ratio in ratios] == [False, True, False]


def test_a_map_is_passed_on_as_it_is() -> None:
    shades = np.zeros((2, 3), dtype=np.uint8)
    assert MapPlot("title", shades).arguments() == {"title": "title", "shades": shades}


def test_short_names_stay_as_they_are() -> None:
    assert shorten_names(["net.tanh", "net.relu"]) == ["net.tanh", "net.relu"]
    assert shorten_names([]) == []


def test_components_that_all_names_share_are_dropped() -> None:
    assert shorten_names(BERT) == [f"…{layer}.intermediate…" for layer in range(12)]
    names = [
        "transformer.encoder.layers.0.activation",
        "transformer.encoder.layers.11.activation",
    ]
    assert shorten_names(names) == ["…layers.0.activation", "…layers.11.activation"]


def test_names_that_share_too_little_are_cut_in_the_middle() -> None:
    shortened = shorten_names(["bert.pooler.activation", *BERT])
    assert shortened[0] == "…pooler.activation"
    assert shortened[12] == "…encoder.layer.11…iate_act_fn"[:17] + shortened[12][17:]
    assert "layer.11" in shortened[12]
    assert len(set(shortened)) == 13
    assert max(map(len, shortened)) <= LONGEST_NAME


def test_names_that_differ_in_one_character_stay_apart() -> None:
    """However short a name should be, it is as long as it has to be."""
    names = ["x" * 40 + end + "y" * 40 for end in "ab"]
    assert len(set(shorten_names(names))) == 2
    assert len(set(shorten_names([a + "x" * 60 + b for a in "ab" for b in "cd"]))) == 4


@given(
    names=st.lists(st.text("ab.", max_size=50), max_size=6), longest=st.integers(1, 30)
)
def test_different_names_stay_different(names: list[str], longest: int) -> None:
    shortened = shorten_names(names, longest)
    assert len(shortened) == len(names)
    assert len(set(shortened)) == len(set(names))
    assert all(
        len(short) <= len(name)
        for short, name in zip(shortened, names, strict=True)
        if "…" not in short
    )


def test_items_are_chosen_evenly() -> None:
    assert choose_evenly(range(3)) == range(3)
    chosen = choose_evenly(range(100))
    assert (len(chosen), chosen[0], chosen[-1]) == (MOST_LINES, 0, 99)
    assert {b - a for a, b in pairwise(chosen)} == {9}
