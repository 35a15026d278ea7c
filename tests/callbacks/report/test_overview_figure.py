"""The figure of the overview, by whether it can be read where TensorBoard shows it."""

import io
import itertools
import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from callbacks._card import Line
from callbacks.report.figures.canvas import png
from callbacks.report.figures.draw import draw
from callbacks.report.figures.overview import NOTHING
from callbacks.report.overview_plot import overview_plot

CARD, LEGIBLE = 400, 9
"""Pixels of a card of TensorBoard across, and of the height of a text at least."""

PLOTS = ("activation_std", "activation_grad_std", "update_ratio", "saturation")
VERDICT = "health fail: saturation in encoder.layers.11.mlp.activation since step 16 and 12 more."

SLACK = 0.5
"""Pixels by which the box of a text, which is wider than its letters, may run out of a card."""


def numbers(
    layers: int, steps: list[int], low: float, high: float, plots: tuple[str, ...]
) -> dict[str, Line]:
    """Returns numbers from the lowest to the highest over layers and steps, log10 of those of updates."""
    values = np.geomspace(low, high, layers * len(steps)).reshape(layers, -1)
    logs = {"update_ratio": np.log10(values), "saturation": values / high}
    return {
        f"{plot}/layer{layer}": (steps, logs.get(plot, values)[layer].tolist())
        for plot in plots
        for layer in range(layers)
    }


def figure_of(lines: Mapping[str, Line], step: int = 123456) -> Figure:
    plot = overview_plot([lines], VERDICT, step)
    assert plot is not None
    return draw(plot.figure, plot.arguments())


def texts_of(figure: Figure) -> list[tuple[str, Bbox]]:
    """Returns all texts with their places in pixels of a card."""
    FigureCanvasAgg(figure).draw()
    scale = CARD / figure.bbox.width
    texts = [each for each in figure.findobj(Text) if each.get_text().strip()]  # type: ignore[attr-defined]
    return [
        (text.get_text(), Bbox(text.get_window_extent().get_points() * scale))  # type: ignore[attr-defined]
        for text in texts
        if text.get_visible()
    ]


def faults_of(figure: Figure) -> list[str]:
    """Returns what cannot be read."""
    texts = texts_of(figure)
    height = CARD * figure.bbox.height / figure.bbox.width
    faults = [
        f"{text} runs out: {box}"
        for text, box in texts
        if min(box.x0, box.y0) < -SLACK or box.x1 > CARD or box.y1 > height
    ]
    for (first, a), (second, b) in itertools.combinations(texts, 2):
        both = Bbox.intersection(a, b)
        if both is not None and both.width > 0.5 and both.height > 1:
            faults.append(f"{first} collides with {second}: {a}, {b}")
    return faults


CASES: dict[str, Mapping[str, Line]] = {
    "a network": numbers(5, list(range(0, 2000, 50)), 1e-4, 2.0, PLOTS),
    "one layer": numbers(1, [0, 1, 2], 0.1, 1.0, PLOTS),
    "one step": numbers(5, [0], 0.1, 1.0, PLOTS),
    "one layer, one step": numbers(1, [0], 0.1, 1.0, PLOTS),
    "64 layers, late": numbers(64, [10**8 + 5, 10**9 + 7], 1e-30, 1e30, PLOTS),
    "999 layers": numbers(999, [0, 99], 0.1, 1.0, PLOTS),
    "equal scales": numbers(5, [0, 99], 0.5, 0.5, PLOTS),
    "tiny": numbers(5, [0, 99], 1e-290, 1e-289, PLOTS),
    "nothing positive": {"activation_std/a": ([0, 1], [0.0, math.nan])},
}


@pytest.mark.parametrize("case", CASES)
def test_all_can_be_read_in_a_card(case: str) -> None:
    assert faults_of(figure_of(CASES[case])) == []


@pytest.mark.parametrize("count", range(1, 4))
def test_of_any_selection_of_plots(count: int) -> None:
    for plots in itertools.combinations(PLOTS, count):
        assert faults_of(figure_of(numbers(5, [0, 1, 999], 0.01, 9.0, plots))) == []


@settings(max_examples=20, deadline=None, phases=[Phase.generate])
@given(
    layers=st.integers(1, 64),
    steps=st.lists(st.integers(0, 10**9), min_size=1, max_size=5, unique=True),
    exponents=st.tuples(st.floats(-100, 100), st.floats(0, 100)),
)
def test_of_any_scale(
    layers: int, steps: list[int], exponents: tuple[float, float]
) -> None:
    low, high = 10.0 ** exponents[0], 10.0 ** (exponents[0] + exponents[1])
    assert faults_of(figure_of(numbers(layers, sorted(steps), low, high, PLOTS))) == []


def test_texts_are_large_enough() -> None:
    figure = figure_of(CASES["a network"])
    for text in figure.findobj(Text):
        if text.get_text().strip() and text.get_visible():  # type: ignore[attr-defined]
            height = text.get_fontsize() * figure.dpi / 72  # type: ignore[attr-defined]
            assert height * CARD / figure.bbox.width >= LEGIBLE


def test_layers_that_differ_have_colors_that_differ() -> None:
    """The first layer, on top, is dark and the last, below, is bright; what is zero is grey."""
    values = {
        f"activation_std/{name}": ([0, 1], [value, value])
        for name, value in {"first": 0.01, "none": 0.0, "last": 100.0}.items()
    }
    figure = figure_of(values)
    pixels = np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB")).astype(int)
    box = figure.axes[0].get_position()
    height, width = pixels.shape[:2]
    column = round(width * (box.x0 + box.x1) / 2)
    rows = [
        round(height * (1 - box.y1 + box.height * part)) for part in (0.1, 0.5, 0.9)
    ]
    first, none, last = (pixels[row, column] for row in rows)
    assert np.abs(first - (68, 1, 84)).max() < 10  # viridis begins dark violet
    assert np.abs(last - (253, 231, 37)).max() < 10  # and ends yellow
    grey = [int(NOTHING[place : place + 2], 16) for place in (1, 3, 5)]
    assert np.abs(none - grey).max() < 10


def test_is_of_the_size_of_the_others() -> None:
    picture = png(figure_of(CASES["a network"]))
    image = Image.open(io.BytesIO(picture))
    assert (image.format, image.mode, image.size) == ("PNG", "P", (800, 500))
    assert len(picture) < 60_000
