"""Tests of the specifications of statistics: which of them holds the result of which."""

import pickle

import numpy as np
import pytest
import torch

from callbacks import Histogram
from callbacks.measure.saturation import Saturation
from callbacks.measure.statistic import (
    HistogramOf,
    MomentsOf,
    SaturationOf,
    Statistic,
    covers,
    result_as,
)

MAP, NO_MAP = SaturationOf(keep_map=True), SaturationOf()


@pytest.mark.parametrize(
    ("statistic", "other", "expected"),
    [
        (MomentsOf(), MomentsOf(), True),
        (HistogramOf(), MomentsOf(), True),
        (MomentsOf(), HistogramOf(), False),
        (MAP, NO_MAP, True),
        (NO_MAP, MAP, False),
        (NO_MAP, SaturationOf(0.9), False),
        (SaturationOf(unit_dim=1), NO_MAP, False),
        (MAP, MomentsOf(), False),
        (HistogramOf(), NO_MAP, False),
    ],
)
def test_covers(statistic: Statistic, other: Statistic, expected: bool) -> None:
    assert covers(statistic, other) == expected


def test_results_are_reduced_to_what_was_asked_for() -> None:
    histogram = Histogram.of(torch.randn(9))
    assert result_as(MomentsOf(), histogram) is histogram.moments
    assert result_as(HistogramOf(), histogram) is histogram
    saturation = Saturation(
        1, 2, 0, {1: np.array([True])}, np.zeros((1, 1), dtype=np.uint8)
    )
    assert result_as(MAP, saturation) is saturation
    assert result_as(NO_MAP, saturation).map is None
    assert result_as(NO_MAP, saturation).saturated == 1


@pytest.mark.parametrize(
    "statistic", [MomentsOf(), HistogramOf(), SaturationOf(0.9, 1, True)]
)
def test_equal_after_pickling(statistic: Statistic) -> None:
    """Ranks send results by statistic: a copy has to be the same key of a dict."""
    copy = pickle.loads(pickle.dumps(statistic))
    assert copy == statistic
    assert {statistic: 1}[copy] == 1
