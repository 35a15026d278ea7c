"""Tests of the points that an event file holds: few enough for TensorBoard to show the first and the last ones."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.data_ingester import (
    DEFAULT_SIZE_GUIDANCE,
    DEFAULT_TENSOR_SIZE_GUIDANCE,
)
from tensorboard.backend.event_processing.plugin_event_multiplexer import (
    EventMultiplexer,
)

from callbacks.measure.histogram import Histogram
from callbacks.probe.schedule import Schedule
from callbacks.report.drawing import Picture
from callbacks.report.event_points import (
    EventPoints,
    select_histograms,
    select_numbers,
    select_pictures,
)
from callbacks.report.writer import Writer

HISTOGRAM = Histogram.of(torch.randn(100))
LIMITS = {"number": 1000, "histogram": 51, "picture": 10}
"""Points of a tag that TensorBoard shows."""

SELECTIONS = {
    "number": select_numbers,
    "histogram": select_histograms,
    "picture": select_pictures,
}


def due_steps(length: int, every_n_steps: int) -> list[int]:
    """Returns the due steps of a run, with its last step."""
    schedule = Schedule(every_n_steps, dense_start=True)
    powers = (2**exponent for exponent in range(length.bit_length()))
    steps = {0, *powers, *range(0, length, every_n_steps)}
    due = {step for step in steps if step < length and schedule.is_due(step)}
    return sorted({*due, length - 1})


def selected(kind: str, steps: list[int]) -> list[int]:
    selection = SELECTIONS[kind]()
    return [step for step in steps if selection.takes("tag", step)]


def png() -> bytes:
    image = io.BytesIO()
    Image.new("P", (3, 2)).save(image, "png")
    return image.getvalue()


@pytest.mark.parametrize("length", [500, 20_000, 200_000])
def test_tensorboard_shows_the_first_and_the_last_step(
    length: int, tmp_path: Path
) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="run")
    writer, pictures = Writer([logger]), select_pictures()
    steps = due_steps(length, 100)
    for step in steps:
        writer.write_record({"grad_norm/total": 1.0, "weight/w": HISTOGRAM}, step)
        if pictures.takes("instrument", step) or step == steps[-1]:
            writer.write_picture(Picture("update_ratio", step, png()))
    writer.write_last()
    logger.experiment.close()

    shown = steps_shown(tmp_path)
    for kind, tag in {
        "number": "grad_norm/total",
        "histogram": "weight/w",
        "picture": "update_ratio",
    }.items():
        assert {0, 1, 2, 4, length - 1} <= set(shown[tag])
        assert len(shown[tag]) <= LIMITS[kind]
        assert shown[tag] == sorted({*selected(kind, steps), length - 1})


def steps_shown(folder: Path) -> dict[str, list[int]]:
    """Reads the points that TensorBoard keeps with its default limits."""
    multiplexer = EventMultiplexer(
        size_guidance=DEFAULT_SIZE_GUIDANCE,
        tensor_size_guidance=DEFAULT_TENSOR_SIZE_GUIDANCE,
    )
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    ((run, tags),) = multiplexer.Runs().items()
    return {
        tag: [event.step for event in multiplexer.Tensors(run, tag)]
        for tag in tags["tensors"]
    }


@given(
    length=st.integers(1, 3_000_000),
    every_n_steps=st.sampled_from([1, 7, 10, 64, 100, 5000]),
    kind=st.sampled_from(sorted(LIMITS)),
)
def test_few_points_of_a_run_of_any_length(
    length: int, every_n_steps: int, kind: str
) -> None:
    length = min(length, 30_000 * every_n_steps)
    steps = due_steps(length, every_n_steps)
    points = selected(kind, steps)
    assert len({*points, length - 1}) <= LIMITS[kind]
    first = [0, 1, 2, 4] if kind == "picture" else [0, 1, 2, 4, 8, 16, 32, 64]
    assert set(first) & set(steps) <= set(points)


def test_a_run_without_end_stops_at_the_limit() -> None:
    steps = [2**exponent for exponent in range(2000)]
    assert len(selected("number", steps)) < LIMITS["number"]
    assert len(selected("histogram", steps)) < LIMITS["histogram"]


@pytest.mark.parametrize(("kind", "gap"), [("number", 0.01), ("histogram", 0.25)])
def test_points_cover_the_whole_run(kind: str, gap: float) -> None:
    points = [*selected(kind, due_steps(200_000, 100)), 199_999]
    assert np.diff(points).max() < gap * 200_000


def test_points_of_a_resumed_run_stay_within_the_limits() -> None:
    steps = due_steps(200_000, 100)
    for kind, limit in LIMITS.items():
        before = [step for step in steps if step < 100_000]
        after = [step for step in steps if step >= 100_000]
        points = {*selected(kind, before), *selected(kind, after)}
        assert len(points | {before[-1], after[-1]}) <= limit


def test_a_tag_that_appears_late_is_written_at_once() -> None:
    points = EventPoints()
    for step in range(1000):
        points.select({"saturation/a": 0.5}, step)
    assert points.select({"nonfinite/a": 1.0}, 1001) == {"nonfinite/a": 1.0}


def test_values_that_are_left_out_come_at_the_end_once() -> None:
    points = EventPoints()
    selected = [points.select({"weight/w": HISTOGRAM}, step) for step in range(12)]
    assert [step for step, record in enumerate(selected) if not record] == [9, 11]
    assert points.take_last() == {11: {"weight/w": HISTOGRAM}}
    assert points.take_last() == {}


def test_two_records_of_a_step_share_a_tag() -> None:
    points = EventPoints()
    assert points.select({"a/x": 1.0}, 5) == {"a/x": 1.0}
    assert points.select({"a/x": 2.0}, 5) == {"a/x": 2.0}
