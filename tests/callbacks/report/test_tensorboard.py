"""Messages as TensorBoard reads them back."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks.measure.histogram import Histogram
from callbacks.report.drawing import Picture
from callbacks.report.record import distribution_record
from callbacks.report.tensorboard import (
    encodable,
    event_file,
    picture_summary,
    record_summary,
)

SURROGATE = chr(0xD800)


def png(width: int = 3, height: int = 2) -> bytes:
    image = io.BytesIO()
    Image.new("P", (width, height)).save(image, "png")
    return image.getvalue()


def read_back(folder: str) -> EventAccumulator:
    events = EventAccumulator(folder)
    events.Reload()
    return events


def test_a_record_and_a_picture_are_read_back(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    histogram = Histogram.of(torch.randn(500))
    record = distribution_record("activation", "net.1", histogram)
    event_file(logger).add_summary(record_summary(record), 7)  # type: ignore[union-attr]
    event_file(logger).add_summary(picture_summary(Picture("map/net.1", 7, png())), 7)  # type: ignore[union-attr]
    logger.experiment.close()
    events = read_back(logger.log_dir)
    (written,) = events.Histograms("activation/net.1")
    value, moments = written.histogram_value, histogram.moments
    assert (written.step, value.num, value.min, value.max) == (
        7,
        500,
        moments.low,
        moments.high,
    )
    assert value.sum == pytest.approx(500 * moments.mean)
    assert value.sum_squares == pytest.approx(moments.norm**2)
    (mean,) = events.Scalars("activation_mean/net.1")
    assert mean.value == pytest.approx(moments.mean, rel=1e-6)
    (picture,) = events.Images("map/net.1")
    assert (picture.width, picture.height, picture.encoded_image_string) == (
        3,
        2,
        png(),
    )


def test_the_event_file_of_a_closed_writer_opens_again(tmp_path: Path) -> None:
    """SummaryWriter._get_file_writer is private: this test fails when it moves."""
    logger = TensorBoardLogger(tmp_path)
    for step in range(2):
        events = event_file(logger)
        assert events is not None
        events.add_summary(record_summary({"a/b": 1.0}), step)
        logger.experiment.close()
    assert [event.step for event in read_back(logger.log_dir).Scalars("a/b")] == [0, 1]


class Anything:
    """An object that seems to have any method."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self


def test_other_loggers_have_no_event_file(tmp_path: Path) -> None:
    assert event_file(SimpleNamespace(experiment=Anything())) is None
    assert event_file(CSVLogger(tmp_path)) is None
    assert event_file(DummyLogger()) is None  # has any attribute
    assert event_file(object()) is None


def test_a_histogram_takes_few_bytes() -> None:
    """`add_histogram` takes 9.8 kB."""
    record = {"activation/tanh": Histogram.of(torch.tanh(torch.randn(64_000) * 2))}
    assert record_summary(record, described=set(record)).ByteSize() < 500


def test_a_tag_that_has_no_encoding_costs_no_other_value() -> None:
    record: dict[str, float | Histogram] = {
        f"a/{SURROGATE}": 1.0,
        "b/é": 2.0,
        f"c/{SURROGATE}": Histogram.of(torch.ones(2)),
    }
    assert [value.tag for value in record_summary(record).value] == [
        "a/?",
        "b/é",
        "c/?",
    ]
    assert picture_summary(Picture(f"a/{SURROGATE}", 0, png())).value[0].tag == "a/?"


@given(tag=st.text())
def test_any_tag_can_be_encoded(tag: str) -> None:
    encoded = encodable(tag).encode()
    assert len(encodable(tag)) == len(tag)
    assert encoded.decode() == tag or any(
        0xD800 <= ord(character) < 0xE000 for character in tag
    )


@pytest.mark.parametrize(
    "value", [None, "text", 10**400], ids=["None", "text", "large"]
)
def test_a_value_that_is_no_number_costs_no_other_value(value: Any) -> None:
    bad, good = record_summary({"a/x": value, "b/x": 2.0}).value
    assert bad.simple_value != bad.simple_value
    assert good.simple_value == 2


def test_an_empty_histogram_and_the_largest_values() -> None:
    largest = torch.tensor([1.7e308, -1.7e308, 1e200], dtype=torch.float64)
    record = {
        "a/x": Histogram.of(torch.tensor([float("nan")])),
        "b/x": Histogram.of(largest),
    }
    (written,) = record_summary(record).value
    assert (written.tag, written.histo.num) == ("b/x", 3)
