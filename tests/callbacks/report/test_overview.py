"""Tests of the overview of all layers, its page, and the descriptions of tags, as TensorBoard reads them."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import ALL, Regression, every_step, fit, tanh_net
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout  # type: ignore[attr-defined]
from torch import nn

from callbacks.report.descriptions import description_of
from callbacks.report.overview import overview_of

pytestmark = pytest.mark.filterwarnings("ignore")


def events_of(folder: Path, net: nn.Module, kinds: Any = ALL) -> EventAccumulator:
    """Returns the events of a fit of five steps."""
    logger = TensorBoardLogger(folder, name=None)
    fit(lambda: Regression(net), every_step(kinds, figures=False), logger=logger)
    events = EventAccumulator(logger.log_dir, size_guidance={"tensors": 0})
    events.Reload()
    return events


def layout_of(events: EventAccumulator) -> Layout:
    point = events.Tensors("custom_scalars__config__")[-1]
    return Layout.FromString(point.tensor_proto.string_val[0])


def test_numbers_are_those_of_the_layers(tmp_path: Path) -> None:
    events = events_of(tmp_path, tanh_net())
    for plot in ("activation_std", "update_ratio", "saturation", "grad_data_ratio"):
        tags = [
            tag for tag in events.Tags()["scalars"] if tag.startswith(f"{plot}/net")
        ]
        for step in range(1, 5):
            numbers = [
                point.value
                for tag in tags
                for point in events.Scalars(tag)
                if point.step == step
            ]
            written = {
                level: {
                    point.step: point.value
                    for point in events.Scalars(f"overview/{plot}/{level}")
                }[step]
                for level in ("low", "median", "high")
            }
            expected = torch.tensor(numbers, dtype=torch.float64)
            assert len(numbers) > 1
            assert written == pytest.approx(
                {
                    "low": expected.min().item(),
                    "median": expected.quantile(0.5).item(),
                    "high": expected.max().item(),
                }
            )


def test_numbers_that_are_not_finite_are_left_out() -> None:
    numbers = {
        "saturation/a": math.nan,
        "saturation/b": 0.5,
        "update_ratio/a": -math.inf,
    }
    assert overview_of(numbers) == {
        f"overview/saturation/{level}": 0.5 for level in ("low", "median", "high")
    }


def test_every_tag_of_the_page_is_written(tmp_path: Path) -> None:
    events = events_of(tmp_path, tanh_net())
    tags = set(events.Tags()["scalars"])
    categories = {each.title: each for each in layout_of(events).category}
    assert list(categories) == ["Overview", "Layer by layer"]
    charts = categories["Overview"].chart
    assert len(charts) == len({chart.title for chart in charts}) == 6
    for chart in charts:
        for series in chart.margin.series:
            assert {series.value, series.lower, series.upper} <= tags
    for chart in categories["Layer by layer"].chart:
        (pattern,) = chart.multiline.tag
        lines = [tag for tag in tags if re.match(pattern, tag)]
        assert 1 < len(lines) <= 4


def test_many_layers_have_no_lines(tmp_path: Path) -> None:
    layers = [layer for _ in range(5) for layer in (nn.Linear(4, 4), nn.Tanh())]
    events = events_of(tmp_path, nn.Sequential(*layers, nn.Linear(4, 1)))
    assert [each.title for each in layout_of(events).category] == ["Overview"]


def test_pages_of_two_models_are_alike(tmp_path: Path) -> None:
    layers = [layer for _ in range(5) for layer in (nn.Linear(4, 4), nn.Tanh())]
    deep = nn.Sequential(*layers, nn.Linear(4, 1))
    pages = [
        layout_of(events_of(tmp_path / str(number), net)).category[0]
        for number, net in enumerate([tanh_net(), deep])
    ]
    assert pages[0] == pages[1]


def test_a_chart_that_comes_later_is_added(tmp_path: Path) -> None:
    late, early = every_step([ALL[0], ALL[2]], figures=False)
    late.schedule = type(late.schedule)(3, False)
    logger = TensorBoardLogger(tmp_path, name=None)
    early.schedule = type(early.schedule)(2, False)

    class Begins(Regression):
        """Its first due step has no update."""

    fit(lambda: Begins(tanh_net()), [early, late], logger=logger)
    events = EventAccumulator(logger.log_dir, size_guidance={"tensors": 0})
    events.Reload()
    assert len(layout_of(events).category[0].chart) == 2


def test_every_tag_has_a_description(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name=None)
    fit(lambda: Regression(tanh_net()), every_step(ALL), logger=logger)
    events = EventAccumulator(logger.log_dir, size_guidance={"tensors": 0})
    events.Reload()
    ours = [
        *events.Tags()["scalars"],
        *events.Tags()["histograms"],
        *events.Tags()["images"],
    ]
    assert len(ours) > 40
    for tag in ours:
        if tag == "epoch" or tag.startswith("train"):
            continue
        assert description_of(tag), tag
        assert events.SummaryMetadata(tag).summary_description == description_of(tag)
