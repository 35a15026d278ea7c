"""The pictures, by what is in them."""

import sys

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from callbacks._figures import (
    FIGURES,
    MOST_CURVES,
    POINTS,
    evenly,
    ratio_figure,
    render,
    short,
)
from callbacks._histogram import Histogram
from callbacks._saturation import SaturationTally
from callbacks._sketches import Curve, Sketch, sketch_densities, sketch_saturation


def curve(name: str, values: torch.Tensor) -> Curve:
    return Curve(name, "mean +0.00", Histogram.of(values))


def drawn(sketch: Sketch) -> Figure:
    return FIGURES[sketch.figure](**sketch.arguments)


class TestDensity:
    def test_each_curve_covers_an_area_of_one(self) -> None:
        layers = [curve("a", torch.tanh(torch.randn(5000))), curve("b", torch.tanh(3 * torch.randn(5000)))]
        (axes,) = drawn(sketch_densities("activations at step 0", "activation", layers)).axes
        for line in axes.lines:
            x, y = (np.asarray(axis, dtype=float) for axis in line.get_data())
            assert len(x) == POINTS
            assert (y * (x[1] - x[0])).sum() == pytest.approx(1, abs=1e-6)
        legend = axes.get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == ["a: mean +0.00", "b: mean +0.00"]

    def test_a_legend_of_long_names_fits(self) -> None:
        layer = Curve(
            "model.transformer.layers.11.mlp.act",
            "mean -0.06, std 0.75, saturated 10.3%",
            Histogram.of(torch.randn(99)),
        )
        figure = drawn(sketch_densities("", "", [layer]))
        render(figure)
        legend = figure.axes[0].get_legend()
        assert legend is not None
        assert legend.get_window_extent().x1 <= figure.bbox.x1

    def test_an_outlier_does_not_squeeze_the_rest(self) -> None:
        values = torch.cat([torch.randn(100_000), torch.tensor([1e4])])
        (axes,) = drawn(sketch_densities("", "", [curve("a", values)])).axes
        assert axes.get_xlim()[1] < 10

    @pytest.mark.parametrize(
        "values", [torch.zeros(5), torch.full((7,), 3.0), torch.tensor([1.0]), torch.tensor([1e30, -1e30])]
    )
    def test_values_without_spread(self, values: torch.Tensor) -> None:
        assert render(drawn(sketch_densities("", "", [curve("a", values)])))[:4] == b"\x89PNG"

    def test_of_many_layers_some_are_drawn(self) -> None:
        layers = [curve(str(i), torch.randn(50)) for i in range(100)]
        (axes,) = drawn(sketch_densities("", "", layers)).axes
        assert len(axes.lines) == MOST_CURVES
        legend = axes.get_legend()
        assert legend is not None
        assert legend.get_title().get_text() == "12 of 100"

    def test_names_that_begin_with_an_underscore_stay_in_the_legend(self) -> None:
        (axes,) = drawn(sketch_densities("", "", [curve("_act", torch.randn(50))])).axes
        legend = axes.get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == ["_act: mean +0.00"]

    def test_nothing_to_draw(self) -> None:
        assert render(drawn(sketch_densities("", "", [])))


def test_ratios_have_their_guide_and_their_gaps() -> None:
    (axes,) = ratio_figure("", [0, 1, 2], {"w": [-2.0, None, -3.5]}).axes
    line, guide = axes.lines
    assert list(line.get_xdata()) == [0, 1, 2]  # type: ignore[arg-type]
    assert [y != y for y in line.get_ydata()] == [False, True, False]  # type: ignore[union-attr]
    assert set(guide.get_ydata()) == {-3.0}  # type: ignore[arg-type]


def test_saturated_is_white_units_across_examples_down() -> None:
    tally = SaturationTally(lambda h: h > 0.99, None, True)
    tally.add(torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]]))
    found = tally.value(tally.tensors())
    assert found is not None
    (axes,) = drawn(sketch_saturation("", found)).axes
    (image,) = axes.images
    shown = image.get_array()
    assert shown is not None
    assert shown.tolist() == [[True, False, False], [True, False, True]]
    assert image.cmap(1.0)[:3] == (1.0, 1.0, 1.0)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("unit", "example")


def test_names_keep_their_ends() -> None:
    assert short("net.tanh") == "net.tanh"
    assert short("transformer.encoder.layers.11.activation") == "…encoder.layers.11.activation"
    assert evenly(range(3)) == range(3)


def test_no_state_of_pyplot_is_touched() -> None:
    assert render(drawn(sketch_densities("", "", [curve("a", torch.randn(9))])))
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        assert not pyplot.get_fignums()
