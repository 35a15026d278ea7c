"""Figures, by what is in them."""

import io
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from callbacks.measure.histogram import Histogram
from callbacks.report import figures
from callbacks.report.figures import (
    draw,
    map_figure,
    png,
    ratio_figure,
)
from callbacks.report.plots import (
    Curve,
    DensityPlot,
    HistogramPlot,
    MapPlot,
    Plot,
    RatioPlot,
    SeriesPlot,
)

NAMES = [
    "$_$",
    "$x$",
    "_x",
    "%",
    "\\",
    "\\frac{",
    "a^b_c",
    "$",
    "",
    "\n",
    chr(0xD800),
    "{}",
    "层",
]
NAN = float("nan")
LINE = ("w", [-2.0, NAN, -3.5])


def figure_of(plot: Plot) -> Figure:
    return draw(plot.figure, plot.arguments())


def curve(name: str, remark: str = "mean +0.00") -> Curve:
    return Curve(name, remark, Histogram.of(torch.randn(99)))


def legend_of(figure: Figure) -> list[str]:
    legend = figure.axes[0].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def test_the_legend_has_name_and_remark() -> None:
    assert (
        legend_of(figure_of(DensityPlot("", "", [curve("a"), curve("_act")])))
        == [
            "a: mean +0.00",
            "_act: mean +0.00",  # matplotlib leaves out labels that begin with "_" unless they are given explicitly
        ]
    )


def test_a_selection_of_layers_is_told() -> None:
    (axes,) = figure_of(DensityPlot("", "", [curve(str(i)) for i in range(100)])).axes
    legend = axes.get_legend()
    assert legend is not None
    assert len(axes.lines) == 12
    assert legend.get_title().get_text() == "12 of 100"


@pytest.mark.parametrize("length", [35, 52, 70])
def test_a_legend_of_long_names_fits(length: int) -> None:
    names = [
        f"model.{'layers_and_more.' * 5}"[: length - 10] + f"{i:02}.mlp.act"
        for i in range(12)
    ]
    remark = "mean -0.06, std 0.75, saturated 10.3%"
    densities = DensityPlot("", "", [curve(name, remark) for name in names])
    for plot in (densities, RatioPlot("", [0], {name: [-3.0] for name in names})):
        figure = figure_of(plot)
        png(figure)
        legend = figure.axes[0].get_legend()
        assert legend is not None
        assert legend.get_window_extent().x1 <= figure.bbox.x1


def test_ratios_have_their_guide_and_their_gaps() -> None:
    figure = ratio_figure("", [0, 1, 2], [LINE], 1)
    line, guide = figure.axes[0].lines
    assert list(line.get_xdata()) == [0, 1, 2]  # type: ignore[arg-type]
    assert [y != y for y in line.get_ydata()] == [False, True, False]  # type: ignore[union-attr]
    assert set(guide.get_ydata()) == {-3.0}  # type: ignore[arg-type]
    assert legend_of(figure) == ["w", "guide: -3"]


def test_saturated_is_white_units_across_examples_down() -> None:
    shades = np.array([[255, 0, 0], [255, 0, 128]], dtype=np.uint8)
    (axes,) = map_figure("", shades).axes  # type: ignore[arg-type]
    (image,) = axes.images
    shown = image.get_array()
    assert shown is not None
    assert shown.tolist() == shades.tolist()
    assert (image.norm.vmin, image.norm.vmax) == (0, 255)
    assert image.cmap(1.0)[:3] == (1.0, 1.0, 1.0)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("unit", "example")


def test_shades_are_seen_in_the_png() -> None:
    shades = np.array([[0, 128, 255]], dtype=np.uint8).repeat(5, 0)
    picture = png(figure_of(MapPlot("", shades)))
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("L"))
    row = pixels[180, 80:895]
    assert row[[0, 400, -1]].tolist() == pytest.approx([0, 128, 255], abs=4)


def test_a_picture_is_a_palette_png_of_one_size() -> None:
    for plot in (
        DensityPlot("", "", [curve("a")]),
        RatioPlot("", [0], {"w": [-3.0]}),
        DensityPlot("", "", []),
    ):
        image = Image.open(io.BytesIO(png(figure_of(plot))))
        assert (image.format, image.mode, image.size) == ("PNG", "P", (920, 360))


@pytest.mark.parametrize("values", [[0.0] * 5, [1.0], [1e30, -1e30]])
def test_values_without_spread_are_drawn(values: list[float]) -> None:
    plot = DensityPlot("", "", [Curve("a", "", Histogram.of(torch.tensor(values)))])
    assert png(figure_of(plot))[:4] == b"\x89PNG"


@pytest.mark.parametrize("use_tex", [False, True])
def test_any_name_is_drawn_as_it_is(use_tex: bool) -> None:
    """TeX is not installed wherever a training asks for it."""
    lines = [(name, [0.0, 1.0], [1.0, 2.0]) for name in NAMES]
    settings_before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"text.usetex": use_tex}), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph"
        )  # of a character that no font here has
        arguments = {
            "title": "saturation of $_$",
            "axis": "activation",
            "limits": (0, 1),
            "lines": lines,
            "total": len(lines),
        }
        figure = draw("density_figure", arguments)
        assert png(figure)[:4] == b"\x89PNG"
    expected = [name.encode(errors="replace").decode() for name in NAMES]
    assert legend_of(figure) == expected
    texts = [
        text
        for text in figure.findobj(Text)
        if text.get_text() in {*filter(None, expected), "saturation of $_$"}
    ]
    assert len(texts) > len(NAMES) - 1
    assert not any(text.get_parse_math() or text.get_usetex() for text in texts)  # type: ignore[attr-defined]
    assert dict(matplotlib.rcParams) == settings_before


@settings(max_examples=20, deadline=None)
@given(
    name=st.text(
        st.characters(max_codepoint=0x24F) | st.sampled_from("$_\\{}%^"), max_size=8
    )
)
def test_random_names_are_drawn(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of characters that no font here has
        assert png(figure_of(RatioPlot(name, [0], {name: [-3.0]})))


def test_no_state_of_pyplot_is_touched() -> None:
    assert png(figure_of(DensityPlot("", "", [curve("a")])))
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        assert not pyplot.get_fignums()


def test_nothing_of_the_package_is_needed_to_draw() -> None:
    """The drawing process would take seconds, and the memory of PyTorch, to start."""
    program = f"import runpy, sys; runpy.run_path({figures.__file__!r}); assert 'torch' not in sys.modules"
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        cwd=Path(figures.__file__).parents[2],
    )


def test_one_distribution_has_its_mean_and_std_in_the_title() -> None:
    histogram = Histogram.of(torch.tensor([1.0, 2.0, 3.0]))
    (axes,) = figure_of(HistogramPlot("weight/a at step 3", "weight", histogram)).axes
    assert axes.get_title() == "weight/a at step 3: mean +2, std 1"
    assert axes.get_xlabel() == "weight"
    assert len(axes.lines[0].get_xdata()) > 2  # type: ignore[arg-type]


def test_a_distribution_without_finite_values_says_so() -> None:
    plot = HistogramPlot("a", "weight", Histogram.of(torch.tensor([NAN])))
    (axes,) = figure_of(plot).axes
    assert axes.get_title() == "a: no finite values"
    assert png(figure_of(plot))


def test_a_series_has_its_gaps() -> None:
    (axes,) = figure_of(SeriesPlot("loss", [0, 1, 4], [1.0, None, 3.0])).axes
    assert list(axes.lines[0].get_xdata()) == [0, 1, 4]  # type: ignore[arg-type]
    assert [y != y for y in axes.lines[0].get_ydata()] == [False, True, False]  # type: ignore[union-attr]
    assert axes.get_title() == "loss"
