"""Figures of the page, each with a title, and a text for those who cannot see it."""

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from .charts import distribution_chart, distributions_of, ridge_chart
from .curve_chart import curve_chart
from .curves import LAYER_CHARTS, Curves, layer_curves, loss_curves
from .losses import losses_of
from .overview_card import depth_profile, overview_card
from .run import Image, Run
from .svg import unique_ids


class PageFigure(NamedTuple):
    """One figure of the page.

    Attributes:
        title: Caption.
        text: What it shows, in words.
        svg: Drawing; empty if there are images.
        images: Titles and PNGs as data URLs.
        curves: Data of the drawing, of curves over steps.
    """

    title: str
    text: str
    svg: str = ""
    images: tuple[tuple[str, str], ...] = ()
    curves: Curves | None = None


def figures_of_all(runs: Sequence[Run]) -> list[PageFigure]:
    """Returns the figures that show all runs together."""
    figures = []
    if any(losses_of(run) for run in runs):
        ends = ", ".join(
            f"{run.name} ends at {next(iter(losses_of(run).values())).last:.4g}"
            for run in runs
            if losses_of(run)
        )
        text = f"Losses over steps, training solid and validation dashed: {ends}."
        figures.append(curve_figure("Loss", text, loss_curves(runs), "loss"))
    if (profile := depth_profile(runs)) is not None:
        text = "Scale of activations and of their gradients from the first layer to the last; dotted at the first step."
        figures.append(
            PageFigure("Scale over depth", text, unique_ids(profile, "depth"))
        )
    return figures


def card_of(run: Run, prefix: str) -> PageFigure | None:
    """Returns the overview card of a run; None if nothing of it was measured."""
    svg = overview_card(run)
    if svg is None:
        return None
    text = "Layers from the first (top) to the last by observed steps; colors are the numbers beside each panel."
    return PageFigure("Every layer at every step", text, unique_ids(svg, prefix))


def figures_of(run: Run, prefix: str) -> Iterator[PageFigure]:
    """Yields the figures of one run."""
    charts: dict[str, tuple[str, str, str, Callable[[], str]]] = {
        "outputs": (
            "activation",
            "Distributions of activations, first and last step",
            "A curve a layer: alike in a healthy network.",
            lambda: distribution_chart(run, "activation", "output"),
        ),
        "over-time": (
            "activation",
            "Distributions of activations over time",
            "The first, the middle and the last layer; steps from the bottom to the top.",
            lambda: ridge_chart(run, "activation"),
        ),
        "gradients": (
            "activation_grad",
            "Distributions of the gradients of activations, first and last step",
            "A curve a layer: alike in a healthy network.",
            lambda: distribution_chart(run, "activation_grad", "gradient"),
        ),
    }
    for name, (plot, title, text, draw) in charts.items():
        if distributions_of(run, plot):
            yield PageFigure(title, text, unique_ids(draw(), f"{prefix}-{name}"))
    for chart in LAYER_CHARTS:
        if (curves := layer_curves(run, chart)) is not None:
            ids = f"{prefix}-{chart.plot}"
            yield curve_figure(chart.title, chart.text, curves, ids)
    yield from saturation_maps(run)


def curve_figure(title: str, text: str, curves: Curves, prefix: str) -> PageFigure:
    """Returns a figure of curves over steps."""
    svg = unique_ids(curve_chart(curves), prefix)
    return PageFigure(title, text, svg, curves=curves)


def saturation_maps(run: Run) -> Iterator[PageFigure]:
    """Yields the first and the last map of the first and the last layer."""
    # The numbers are in the order of the calls; pictures are written as they are drawn.
    names = [f"saturation_map/{layer}" for layer in run.of_plot("saturation")]
    tags = [tag for tag in names if tag in run.images]
    for tag in dict.fromkeys([*tags[:1], *tags[-1:]]):
        images = run.images[tag]
        ends = [images[0], images[-1]] if len(images) > 1 else list(images)
        text = "Examples by units; white is saturated, of ReLU zero; orange is a dead unit."
        titles = tuple((f"step {each.step}", data_url(each)) for each in ends)
        layer = tag.removeprefix("saturation_map/")
        yield PageFigure(f"Saturation of {layer}", text, images=titles)


def data_url(image: Image) -> str:
    """Returns a picture as the address of an `<img>`."""
    return f"data:image/png;base64,{base64.b64encode(image.png).decode()}"
