"""Figures, by what is in them, and by whether it can be read where TensorBoard shows them."""

import io
import itertools
import math
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from callbacks.measure.formats import FORMATS
from callbacks.measure.histogram import Histogram
from callbacks.report import drawing_program
from callbacks.report.figures.canvas import color, png
from callbacks.report.figures.draw import draw
from callbacks.report.legend import MOST_LINES
from callbacks.report.plots import (
    Curve,
    DensityPlot,
    HistogramPlot,
    MapPlot,
    Plot,
    RangePlot,
    RatioPlot,
    SeriesPlot,
    moment_cells,
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
    chr(0xD800),
    "{}",
    "层",
]
NAN = float("nan")

CARD = 400
"""Pixels of a card of TensorBoard across."""

LEGIBLE = 9
"""Pixels of a card that a text is high at least."""


def figure_of(plot: Plot) -> Figure:
    return draw(plot.figure, plot.arguments())


def curve(name: str, std: float = 1.0, shift: float = 0.0) -> Curve:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(200, generator=generator, dtype=torch.float64) * std + shift
    histogram = Histogram.of(values)
    return Curve(name, moment_cells(histogram) | {"sat": "3.4%"}, histogram)


def zeros(name: str) -> Curve:
    histogram = Histogram.of_zeros(9)
    return Curve(name, moment_cells(histogram), histogram)


def densities(names: list[str], *stds: float, shift: float = 0.0) -> DensityPlot:
    """Returns a plot of layers with stds that repeat."""
    curves = [
        curve(name, std, shift)
        for name, std in zip(names, itertools.cycle(stds or (1.0,)), strict=False)
    ]
    return DensityPlot("activations at step 123456", "activation", curves)


def ratios(names: list[str], steps: list[int], *values: float) -> RatioPlot:
    lines = {
        name: [value + 0.1 * (step % 3) for step in steps]
        for name, value in zip(names, itertools.cycle(values), strict=False)
    }
    return RatioPlot("updates up to step 123456", steps, lines)


def saturation(examples: int, units: int, title: str = "relu at step 1") -> MapPlot:
    shades = np.zeros((examples, units), dtype=np.uint8)
    return MapPlot(title, shades, np.arange(units) % 3 == 0, (128, 1024))


def ranges(
    names: list[str], *stds: float, formats: Sequence[str] = tuple(FORMATS)
) -> RangePlot:
    """Returns a plot of layers with stds that repeat."""
    curves = densities(names, *stds).curves
    histograms = {each.name: each.histogram for each in curves}
    title = "gradients of activations at step 123456\ngray: what a format holds"
    return RangePlot(title, formats, histograms)


def layers(count: int, pattern: str = "network.hidden.{}.activation") -> list[str]:
    return [pattern.format(number) for number in range(count)]


def legend_of(figure: Figure) -> list[str]:
    legend = figure.axes[0].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def title_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


# What is in them.


def test_the_legend_has_name_and_numbers() -> None:
    header, *rows = legend_of(figure_of(densities(["net.a", "net._act"])))
    assert header.split() == ["mean", "std", "sat"]
    # matplotlib leaves out labels that begin with "_".
    assert [row.split()[0] for row in rows] == ["a", "_act"]
    assert all(row.endswith(" 3.4%") for row in rows)


def test_each_row_of_the_legend_has_the_color_of_its_line() -> None:
    (axes,) = figure_of(densities(layers(5))).axes
    legend = axes.get_legend()
    assert legend is not None
    header, *handles = legend.get_lines()
    assert header.get_color() == "none"
    assert [handle.get_color() for handle in handles] == [
        line.get_color() for line in axes.lines
    ]


def test_a_selection_of_layers_is_told() -> None:
    figure = figure_of(densities(layers(100)))
    assert len(figure.axes[0].lines) == 12
    assert legend_of(figure)[0].startswith("12 of 100")


def test_ratios_have_their_guide_and_their_gaps() -> None:
    figure = figure_of(RatioPlot("", [0, 1, 2], {"w": [-2.0, None, -3.5]}))
    line, guide = figure.axes[0].lines
    assert list(line.get_xdata()) == [0, 1, 2]  # type: ignore[arg-type]
    assert [y != y for y in line.get_ydata()] == [False, True, False]  # type: ignore[union-attr]
    assert set(guide.get_ydata()) == {-3.0}  # type: ignore[arg-type]
    assert legend_of(figure) == ["  last", "w -3.5", "guide -3"]


def test_one_distribution_and_one_number_have_no_legend() -> None:
    histogram = Histogram.of(torch.tensor([1.0, 2.0, 3.0]))
    figure = figure_of(HistogramPlot("weight/a at step 3", "weight", histogram))
    assert title_of(figure) == ["weight/a at step 3", "mean 2.00, std 1.00"]
    assert figure.axes[0].get_legend() is None
    figure = figure_of(SeriesPlot("loss", [0, 1, 4], [1.0, None, 3.0]))
    assert title_of(figure) == ["loss"]
    assert list(figure.axes[0].lines[0].get_xdata()) == [0, 1, 4]  # type: ignore[arg-type]


def test_saturated_is_white_and_dead_is_orange() -> None:
    shades = np.array([[255, 0, 0, 255], [255, 0, 255, 255]], dtype=np.uint8)
    dead = np.array([False, False, False, True])
    (axes,) = figure_of(MapPlot("", shades, dead)).axes
    (image,) = axes.images
    shown = image.get_array()
    assert shown is not None
    assert shown[:, :3, 0].tolist() == shades[:, :3].tolist()
    assert shown[:, 3].tolist() == [[224, 96, 0]] * 2
    assert list(axes.lines[0].get_xdata()) == [3]  # type: ignore[arg-type]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("unit", "example")
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # examples down


def test_shades_are_seen_in_the_png() -> None:
    shades = np.array([[0, 0, 255, 255]], dtype=np.uint8).repeat(5, 0)
    dead = np.array([False, False, False, True])
    picture = png(figure_of(MapPlot("", shades, dead)))
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    row = pixels[250]
    assert np.abs(row[300]).max() <= 4
    assert np.abs(row[540] - 255).max() <= 4
    assert np.abs(row[740] - [224, 96, 0]).max() <= 8


def test_ranges_have_a_bar_for_each_format_and_one_for_each_octave() -> None:
    values = torch.tensor([0.0, 1.0, 1.5, -3.0, 2.0**-60, 1e6])
    plot = RangePlot("", ["e4m3", "fp16"], {"a": Histogram.of(values)})
    (axes,) = figure_of(plot).axes
    bars = [patch.get_bbox() for patch in axes.patches]  # type: ignore[attr-defined]
    (octaves,) = axes.collections
    bars += [path.get_extents() for path in octaves.get_paths()]
    spans = [(round(bar.y0 + bar.height / 2), bar.x0, bar.x1) for bar in bars]
    assert sorted(spans) == [
        *[(0, -9, -6), (0, -6, 9)],  # 448 is below 2**9
        *[(1, -24, -14), (1, -14, 16)],
        *[(2, -49, -48), (2, 0, 1), (2, 1, 2), (2, 16, 17)],
    ]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "e4m3",
        "fp16",
        "a",
    ]
    assert axes.get_xlim() == (-49, 17)


# Whether it can be read.


def texts_of(figure: Figure) -> dict[str, list[Bbox]]:
    """Returns the places of all texts by kind, in pixels of a card."""
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    legend = axes.get_legend()
    kinds: dict[str, list[Text]] = {
        "title": list(figure.texts),
        "labels": [axes.xaxis.label, axes.yaxis.label],
        "across": axes.get_xticklabels(),
        "up": axes.get_yticklabels(),
        "offsets": [axes.xaxis.get_offset_text(), axes.yaxis.get_offset_text()],
        "legend": [] if legend is None else legend.get_texts(),
    }
    scale = CARD / figure.bbox.width
    return {
        kind: [
            Bbox(text.get_window_extent().get_points() * scale)
            for text in texts
            if text.get_text().strip() and text.get_visible()
        ]
        for kind, texts in kinds.items()
    }


def overlap(first: Bbox, second: Bbox, slack: float = 0.5) -> bool:
    """True if two boxes overlap by more than the empty edge of a text."""
    both = Bbox.intersection(first, second)
    return both is not None and both.width > slack and both.height > slack


def faults_of(figure: Figure) -> list[str]:
    """Returns what cannot be read."""
    texts = texts_of(figure)
    height = CARD * figure.bbox.height / figure.bbox.width
    (axes,) = figure.axes
    data = Bbox(axes.get_window_extent().get_points() * CARD / figure.bbox.width)
    boxes = [(kind, box) for kind, found in texts.items() for box in found]
    faults = [
        f"{kind} runs out: {box}"
        for kind, box in boxes
        if box.x0 < 0 or box.y0 < 0 or box.x1 > CARD or box.y1 > height
    ]
    faults += [
        f"{a} collides with {b}: {first}, {second}"
        for (a, first), (b, second) in itertools.combinations(boxes, 2)
        if overlap(first, second, 1.5 if a == b == "legend" else 0.5)
    ]
    faults += [f"{kind} is in the axes" for kind, box in boxes if overlap(box, data)]
    neighbours = zip(texts["across"], texts["across"][1:], strict=False)
    faults += ["ticks touch" for a, b in neighbours if b.x0 - a.x1 < 2]
    if data.width < 0.3 * CARD or data.height < 0.5 * height:
        faults.append(f"little is left for the curves: {data}")
    if not texts["across"] and not axes.images:
        faults.append("no ticks")
    return faults


LONG = "very_long_component_of_a_name_" * 2 + "{}.and_another_long_component_of_it"

CASES = {
    "one layer": densities(layers(1)),
    "two layers": densities(layers(2)),
    "12 layers": densities(layers(12)),
    "41 layers": densities(layers(41)),
    "64 layers": densities(layers(64)),
    "long names": densities(layers(12, LONG)),
    "long name": densities(layers(1, LONG)),
    "long ends": densities(layers(12, "{}." + "x" * 80)),
    "densities of 300 000": densities(layers(3), 1e-6),
    "densities of 1e-9": densities(layers(3), 1e9),
    "vanishing": densities(layers(20), *(10.0**-i for i in range(20))),
    "exploding": densities(layers(20), *(10.0**i for i in range(20))),
    "vanishing, with zeros": DensityPlot(
        "gradients of activations at step 123456",
        "gradient",
        [*densities(layers(9), *(10.0**-i for i in range(9))).curves, zeros("dead")],
    ),
    "over 600 decades": densities(layers(3), 1e-150, 1.0, 1e150),
    "scales apart": densities(layers(2), 1.0, 1 / 29),
    "far from zero": densities(layers(2), 1e-4, shift=1000),
    "tiny": densities(layers(3), 1e-290),
    "hardly any spread": densities(layers(3), 1e-13, shift=1000),
    "series without spread": SeriesPlot("a", [0, 1], [1e9, 1e9 + 2e-7]),
    "tiny series": SeriesPlot("a", [0, 1], [1e-285, 2e-290]),
    "constant": densities(layers(2), 0.0, shift=1e-5),
    "zeros": densities(layers(2), 0.0),
    "no layers": densities([]),
    "weight": HistogramPlot(LONG * 2, "weight", Histogram.of(torch.randn(99) * 1e-5)),
    "nothing finite": HistogramPlot("a", "weight", Histogram.of(torch.tensor([NAN]))),
    "two steps": ratios(layers(2), [0, 1], -3.0),
    "one step": ratios(layers(2), [1000000], -3.0),
    "many steps": ratios(layers(64), list(range(0, 10**6, 500)), -2.0, -9.0),
    "late steps": ratios(layers(12, LONG), [10**9, 10**9 + 1], -2.0),
    "late steps, close": ratios(layers(2), list(range(10**9 + 1, 10**9 + 6)), -2.0),
    "series": SeriesPlot("grad_norm/total", [0, 123456], [1e-12, 3e-12]),
    "series of large numbers": SeriesPlot(LONG, [0, 5], [123456.0, 123457.0]),
    "series of nothing": SeriesPlot("a", [], []),
    "series of NaN": SeriesPlot("a", [1, 2], [NAN, None]),
    "ranges": ranges(layers(3), 1e-3, 1.0, 1e5),
    "ranges of 64 layers": ranges(layers(64), 1e-3),
    "ranges of long names": ranges(layers(12, LONG), 1e-20, 1e20),
    "ranges of wide names": ranges(layers(12, "M" * 30 + "{}"), 1.0),
    "ranges in one format": ranges(layers(2), formats=["bf16"]),
    "ranges of nothing": ranges([]),
    "map": saturation(128, 512),
    "long map title": saturation(32, 200, LONG * 2 + "\n" + LONG * 2),
    "one unit": saturation(1, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_all_can_be_read_in_a_card(case: str) -> None:
    assert faults_of(figure_of(CASES[case])) == []


@settings(max_examples=30, deadline=None)
@given(
    names=st.lists(
        st.text(st.sampled_from("abimMW._0189"), min_size=1, max_size=90),
        min_size=1,
        max_size=14,
        unique=True,
    ),
    exponents=st.lists(st.floats(-100, 100), min_size=1, max_size=3),
    shift=st.floats(-1e6, 1e6),
)
def test_any_names_and_scales_can_be_read(
    names: list[str], exponents: list[float], shift: float
) -> None:
    stds = [10.0**exponent for exponent in exponents]
    assert faults_of(figure_of(densities(names, *stds, shift=shift))) == []


@settings(max_examples=30, deadline=None)
@given(
    low=st.floats(-1e9, 1e9),
    size=st.floats(1e-12, 1e9),
    steps=st.lists(st.integers(0, 10**9), min_size=1, max_size=5, unique=True),
)
def test_any_limits_can_be_read(low: float, size: float, steps: list[int]) -> None:
    values = [low + size * (number % 2) for number in range(len(steps))]
    figure = figure_of(SeriesPlot("loss", sorted(steps), values))
    assert faults_of(figure) == []


def test_texts_are_large_enough() -> None:
    for case in ("12 layers", "many steps", "map"):
        figure = figure_of(CASES[case])
        for text in figure.findobj(Text):
            if text.get_text() and text.get_visible():  # type: ignore[attr-defined]
                height = text.get_fontsize() * figure.dpi / 72  # type: ignore[attr-defined]
                assert height * CARD / figure.bbox.width >= LEGIBLE


def test_long_titles_are_cut_in_the_middle() -> None:
    (title,) = title_of(figure_of(SeriesPlot("a" * 60 + "b" * 60, [0], [1.0])))
    assert title.startswith("aaa")
    assert "a…b" in title
    assert title.endswith("bbb")


def test_ticks_tell_values_apart() -> None:
    for case in CASES:
        (axes,) = figure_of(CASES[case]).axes
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            texts = [label.get_text() for label in labels]
            assert len(set(texts)) == len(texts), case


# Colors.

LINEAR_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
WHITE_POINT = np.array([0.9505, 1.0, 1.089])
EYES = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
"""Linear RGB as seen, after Machado, Oliveira and Fernandes (2009)."""


def linear(rgb: tuple[float, ...]) -> np.ndarray:
    values = np.array(rgb[:3])
    return np.where(
        values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
    )


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB."""
    ratios = LINEAR_TO_XYZ @ rgb.clip(0, 1) / WHITE_POINT
    x, y, z = np.where(
        ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16 / 116
    ).tolist()
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("count", range(2, MOST_LINES + 1))
def test_neighbours_differ_in_color(count: int, eyes: str) -> None:
    seen = [EYES[eyes] @ linear(color(number, count)) for number in range(count)]
    places = [lab(rgb) for rgb in seen]
    assert min(map(math.dist, places, places[1:])) > 25


@pytest.mark.parametrize("count", range(1, MOST_LINES + 1))
def test_colors_differ_from_each_other_and_from_white(count: int) -> None:
    colors = [linear(color(number, count)) for number in range(count)]
    for first, second in itertools.combinations(map(lab, colors), 2):
        assert math.dist(first, second) > 20
    for luminance in (float(LINEAR_TO_XYZ[1] @ rgb) for rgb in colors):
        assert 1.05 / (luminance + 0.05) > 2.8  # WCAG's contrast


# Files.


def test_a_picture_is_a_palette_png_of_one_size() -> None:
    for case in ("12 layers", "two steps", "no layers", "map", "series"):
        picture = png(figure_of(CASES[case]))
        image = Image.open(io.BytesIO(picture))
        assert (image.format, image.mode, image.size) == ("PNG", "P", (800, 500))
        assert len(picture) < 60_000


@pytest.mark.parametrize("use_tex", [False, True])
def test_any_name_is_drawn_as_it_is(use_tex: bool) -> None:
    """TeX is not installed wherever a training asks for it."""
    plot = densities(NAMES)
    title = "saturation of $_$"
    settings_before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"text.usetex": use_tex}), warnings.catch_warnings():
        # Of a character that no font here has.
        warnings.filterwarnings("ignore", "Glyph")
        figure = draw(plot.figure, plot.arguments() | {"title": title})
        assert png(figure)[:4] == b"\x89PNG"
    expected = [name.encode(errors="replace").decode() for name in NAMES]
    assert [row[:7].rstrip() for row in legend_of(figure)[1:]] == expected
    assert title_of(figure) == [title]
    legend = figure.axes[0].get_legend()
    assert legend is not None
    for text in (*legend.get_texts(), *figure.texts):
        assert not text.get_parse_math()
        assert not text.get_usetex()
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
    assert png(figure_of(densities(["a"])))
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        assert not pyplot.get_fignums()


def test_nothing_of_the_package_is_needed_to_draw() -> None:
    """The drawing process would take seconds, and the memory of PyTorch, to start."""
    program = (
        f"import runpy, sys; runpy.run_path({drawing_program.__file__!r})['load_figures'](); "
        "assert 'matplotlib' in sys.modules; assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        cwd=Path(drawing_program.__file__).parents[2],
    )
