"""Records of a step, and the records of several instruments merged."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from callbacks.measure.histogram import Histogram
from callbacks.report.record import (
    Record,
    distribution_record,
    histograms_in,
    merge_records,
    numbers_in,
)

NAN = float("nan")
TAGS = ["a/x", "b/x", "c/y", "nonfinite/x", "nonfinite/y"]
any_record = st.dictionaries(st.sampled_from(TAGS), st.floats(0, 9))


def test_distribution_has_histogram_mean_and_std() -> None:
    histogram = Histogram.of(torch.tensor([1.0, 3.0, NAN]))
    record = distribution_record("activation", "net.1", histogram)
    assert record == {
        "activation/net.1": histogram,
        "activation_mean/net.1": 2.0,
        "activation_std/net.1": pytest.approx(2**0.5),
    }


def test_one_value_has_no_std() -> None:
    record = distribution_record("weight", "w", Histogram.of(torch.tensor([1.0])))
    assert list(record) == ["weight/w", "weight_mean/w"]


@pytest.mark.parametrize("values", [[], [NAN, NAN]])
def test_no_finite_value_is_no_record(values: list[float]) -> None:
    assert distribution_record("weight", "w", Histogram.of(torch.tensor(values))) == {}


def test_records_without_shared_tags_become_one() -> None:
    assert merge_records([{"a/x": 1.0}, {}, {"b/x": 2.0}]) == [{"a/x": 1.0, "b/x": 2.0}]


def test_records_of_two_instruments_of_a_class_stay_apart_in_order() -> None:
    records: list[Record] = [{"a/x": 1.0}, {"b/x": 2.0}, {"a/x": 3.0}, {"c/y": 4.0}]
    assert merge_records(records) == [
        {"a/x": 1.0, "b/x": 2.0, "c/y": 4.0},
        {"a/x": 3.0},
    ]


def test_a_record_goes_into_the_first_that_comes_after_all_it_shares_a_tag_with() -> (
    None
):
    records: list[Record] = [{"a/x": 1.0, "b/x": 1.0}, {"a/x": 2.0}, {"b/x": 3.0}]
    assert merge_records(records) == [records[0], {"a/x": 2.0, "b/x": 3.0}]


@pytest.mark.parametrize("counts", [(3.0, 4.0), (4.0, 3.0)])
def test_the_larger_count_of_nan_and_infinities_is_kept(
    counts: tuple[float, float],
) -> None:
    first, second = counts
    merged = merge_records(
        [{"nonfinite/a": first}, {"nonfinite/a": second, "b/a": 1.0}]
    )
    assert merged == [{"nonfinite/a": 4.0, "b/a": 1.0}]


@given(records=st.lists(any_record, max_size=5))
def test_no_value_is_lost_and_no_record_is_changed(
    records: list[dict[str, float]],
) -> None:
    copies = [dict(record) for record in records]
    merged = merge_records(records)
    assert records == copies
    for tag in TAGS[:3]:
        values = [record[tag] for record in records if tag in record]
        assert [record[tag] for record in merged if tag in record] == values
    most_shared = max(sum(tag in record for record in records) for tag in TAGS[:3])
    assert len(merged) >= most_shared
    assert all(merged)


def test_numbers_and_finite_histograms() -> None:
    finite, empty = Histogram.of(torch.ones(2)), Histogram.of(torch.tensor([NAN]))
    record: Record = {"a/x": finite, "b/x": 1.0, "c/x": empty}
    assert numbers_in(record) == {"b/x": 1.0}
    assert histograms_in(record) == {"a/x": finite}
