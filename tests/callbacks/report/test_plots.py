"""Tests of plot data: what the figures are given, and the names and numbers in their legends."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from callbacks.measure.histogram import Histogram
from callbacks.report.legend import (
    MOST_LINES,
    WIDEST_ROW,
    choose_evenly,
    drop_shared,
    legend_rows,
    shorten_names,
)
from callbacks.report.plots import (
    Curve,
    DensityPlot,
    HistogramPlot,
    MapPlot,
    RatioPlot,
    SeriesPlot,
    compact,
    moment_cells,
    percent,
)

BERT = [
    f"bert.encoder.layer.{layer}.intermediate.intermediate_act_fn"
    for layer in range(12)
]


def curve(name: str, values: torch.Tensor) -> Curve:
    return Curve(name, {"mean": "0"}, Histogram.of(values))


class TestPlots:
    def test_density(self) -> None:
        curves = [curve("net.a", torch.randn(99)), curve("net.b", torch.randn(99))]
        arguments = DensityPlot("title", "activation", curves).arguments()
        assert arguments["legend"] == ["  mean", "a    0", "b    0"]
        assert (arguments["across"], arguments["up"]) == ("activation", "density")
        assert arguments["is_log"] == (False, False)
        assert len(arguments["lines"]) == 2

    def test_scales_that_differ(self) -> None:
        curves = [curve(f"l{i}", torch.randn(99) * 10.0**-i) for i in range(5)]
        arguments = DensityPlot("title", "activation", curves).arguments()
        labels = (arguments["across"], arguments["up"])
        assert labels == ("|activation|", "fraction per decade")
        assert arguments["is_log"] == (True, False)
        assert "zeros" not in arguments["legend"][0]

    def test_zeros_that_are_left_out_stand_in_the_legend(self) -> None:
        values = torch.tensor([0.0, 0.0, 1.0, 2.0])
        curves = [curve("l1", values), curve("l2", torch.randn(50))]
        arguments = DensityPlot("title", "activation", curves).arguments()
        assert arguments["up"] == "density, no zeros"
        assert arguments["legend"] == [
            "   mean zeros",
            "l1    0   50%",
            "l2    0    0%",
        ]

    def test_a_layer_without_finite_values_has_a_row_and_no_curve(self) -> None:
        invalid = Histogram.of(torch.tensor([math.nan]))
        curves = [
            Curve("x1", moment_cells(invalid), invalid),
            curve("x2", torch.randn(50)),
        ]
        arguments = DensityPlot("title", "activation", curves).arguments()
        assert [len(values) for values, _ in arguments["lines"]] == [0, 100]
        assert arguments["legend"][1].split() == ["x1", "none", "none"]

    def test_of_many_layers_some_are_chosen(self) -> None:
        curves = [curve(f"layer{i}", torch.randn(50)) for i in range(100)]
        densities = DensityPlot("", "", curves).arguments()
        lines = {f"layer{i}": [-3.0] for i in range(100)}
        ratios = RatioPlot("", [0], lines).arguments()
        for arguments in (densities, ratios):
            assert len(arguments["lines"]) == MOST_LINES
            header, *rows = arguments["legend"]
            assert header.startswith("12 of 100")
            assert [row.split()[0] for row in rows[:: MOST_LINES - 1]] == [
                "layer0",
                "layer99",
            ]

    def test_nothing_to_plot(self) -> None:
        for plot in (DensityPlot("", "", []), RatioPlot("", [], {})):
            assert plot.arguments()["lines"] == plot.arguments()["legend"] == []

    def test_ratios_keep_their_gaps(self) -> None:
        plot = RatioPlot("", [0, 1, 2, 3], {"w": [-2.0, None, -3.5, None]})
        (ratios,) = plot.arguments()["lines"]
        assert [math.isnan(ratio) for ratio in ratios] == [False, True, False, True]
        assert plot.arguments()["legend"] == ["  last", "w -3.5"]

    def test_one_distribution(self) -> None:
        histogram = Histogram.of(torch.tensor([1.0, 2.0, 3.0]))
        arguments = HistogramPlot("weight/a", "weight", histogram).arguments()
        assert arguments["title"] == "weight/a\nmean 2.00, std 1.00"
        assert arguments["legend"] == []
        histogram = Histogram.of(torch.tensor([0.0, 0.0, 3.0, math.nan]))
        arguments = HistogramPlot("weight/a", "weight", histogram).arguments()
        assert arguments["title"] == "weight/a\nmean 1.00, std 1.73, 67% zeros"

    def test_a_series_keeps_its_gaps(self) -> None:
        arguments = SeriesPlot("loss", [0, 1, 4], [1.0, None, 3.0]).arguments()
        assert (arguments["title"], arguments["steps"]) == ("loss", [0, 1, 4])
        assert [math.isnan(each) for each in arguments["values"]] == [0, 1, 0]

    def test_map(self) -> None:
        shades = np.zeros((2, 3), dtype=np.uint8)
        assert MapPlot("title", shades).arguments() == {
            "title": "title",
            "shades": shades,
            "dead": [],
            "across": "unit",
            "down": "example",
        }
        dead = np.array([True, False, True, True, False])
        arguments = MapPlot("title", shades, dead, (7, 7)).arguments()
        assert arguments["dead"] == [0, 2]
        assert arguments["across"] == "unit (first 3 of 5)"
        assert arguments["down"] == "example, center of 7 x 7"


class TestNumbers:
    def test_moments(self) -> None:
        cells = moment_cells(Histogram.of(torch.tensor([1e-5, 3e-5])))
        assert cells == {"mean": "2e-5", "std": "1e-5"}
        cells = moment_cells(Histogram.of(torch.tensor([-1.0, 1.0001])))
        assert cells["mean"] == "0"  # no more than noise
        assert moment_cells(Histogram.of(torch.ones(1)))["std"] == "0"

    @given(st.floats(allow_nan=True, allow_infinity=True))
    def test_numbers_are_short_and_right(self, number: float) -> None:
        text = compact(number)
        assert len(text) <= 7
        if math.isfinite(number) and abs(number) < 1e308:
            assert float(text) == pytest.approx(number, rel=0.5, abs=0)
            assert (float(text) < 0) == (number < 0)

    @given(st.floats(0, 1))
    def test_percentages_are_short_and_right(self, fraction: float) -> None:
        text = percent(fraction)
        assert len(text) <= 4
        assert float(text[:-1]) == pytest.approx(100 * fraction, abs=1.01)
        assert (text == "0%") == (fraction == 0)
        assert (text == "100%") == (fraction == 1)


class TestNames:
    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (["net.tanh", "net.relu"], ["tanh", "relu"]),
            (["network.hidden.tanh0"], ["network.hidden.tanh0"]),
            (["a", "a.b"], ["a", "a.b"]),
            (["net.1", "net.3"], ["net.1", "net.3"]),  # "1" is no name
            (["net.0.weight", "net.2.weight"], ["0.weight", "2.weight"]),
            (["network.hidden.0.act", "network.hidden.1.act"], ["0.act", "1.act"]),
            (["net.head.weight", "net.body.h.weight"], ["head", "body.h"]),
            (["net.layer1.x", "net.layer10.x"], ["layer1", "layer10"]),
            (["0", "2"], ["0", "2"]),
            ([], []),
        ],
    )
    def test_components_that_all_share_are_dropped(
        self, names: list[str], expected: list[str]
    ) -> None:
        assert drop_shared(names) == expected
        assert shorten_names(names) == expected

    def test_names_that_share_too_little_are_cut_in_the_middle(self) -> None:
        shortened = shorten_names(["bert.pooler.activation", *BERT], 20)
        assert shortened[0] == "pooler.activation"
        assert all(f".{i}.".strip(".") in shortened[i + 1] for i in range(12))
        assert len(set(shortened)) == 13

    @given(
        names=st.lists(st.text("ab.", max_size=90), max_size=6),
        longest=st.integers(6, 30),
    )
    def test_different_names_stay_different(
        self, names: list[str], longest: int
    ) -> None:
        shortened = shorten_names(names, longest)
        assert len(shortened) == len(names)
        assert len(set(shortened)) == len(set(names))
        assert max(map(len, shortened), default=0) <= longest

    def test_names_that_differ_in_one_character_stay_apart(self) -> None:
        names = [a + "x" * 60 + b for a in "ab" for b in "cd"]
        assert len(set(shorten_names(names, 12))) == 4
        names = ["x" * 40 + c + "y" * 40 + d for c in "ab" for d in "cd"]
        assert len(set(shorten_names(names, 12))) == 4

    @given(
        names=st.lists(st.text("abc.", max_size=90), min_size=1, max_size=12),
        numbers=st.lists(st.floats(), min_size=12, max_size=12),
    )
    def test_rows_are_of_one_width(
        self, names: list[str], numbers: list[float]
    ) -> None:
        cells = [
            {"mean": compact(x), "std": compact(-x)} for x in numbers[: len(names)]
        ]
        rows = legend_rows(names, cells, 99)
        assert len({len(row) for row in rows}) == 1
        assert len(rows[0]) <= WIDEST_ROW

    def test_items_are_chosen_evenly(self) -> None:
        assert choose_evenly(range(3)) == range(3)
        chosen = choose_evenly(range(100))
        assert (len(chosen), chosen[0], chosen[-1]) == (MOST_LINES, 0, 99)
        assert {b - a for a, b in pairwise(chosen)} == {9}
