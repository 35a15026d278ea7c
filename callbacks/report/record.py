"""Records: the numbers and histograms of one step, by tag."""

from collections.abc import Mapping, Sequence

from ..measure.histogram import Histogram

Value = float | Histogram
Record = Mapping[str, Value]
"""Numbers and histograms of one step, by tag."""

NONFINITE = "nonfinite/"
"""Prefix of the tags that count NaN and infinities; a layer and its gradient share such a tag."""


def distribution_record(plot: str, name: str, histogram: Histogram) -> dict[str, Value]:
    """Returns a histogram, its mean and, of two values and more, its standard deviation; {} if no value is finite.

    Args:
        plot: First part of the tags, such as "activation".
        name: Name of a layer or parameter.
        histogram: Distribution of its values.
    """
    moments = histogram.moments
    if not moments.count:
        return {}
    record: dict[str, Value] = {f"{plot}/{name}": histogram}
    record[f"{plot}_mean/{name}"] = moments.mean
    if moments.std is not None:
        record[f"{plot}_std/{name}"] = moments.std
    return record


def merge_records(records: Sequence[Record]) -> list[dict[str, Value]]:
    """Merges the records of one step into as few as possible, since each becomes a row or an event of its own.

    Records that share a tag, such as the records of two instruments of one class, stay apart, in their order. Only
    counts of NaN and infinities may share a tag: the larger count is kept.
    """
    merged: list[dict[str, Value]] = []
    for record in filter(None, records):
        conflicts = [
            place
            for place, earlier in enumerate(merged)
            if _share_tags(record, earlier)
        ]
        place = conflicts[-1] + 1 if conflicts else 0
        if place == len(merged):
            merged.append({})
        _merge_into(merged[place], record)
    return merged


def _share_tags(record: Record, earlier: Record) -> bool:
    shared = record.keys() & earlier.keys()
    return not all(tag.startswith(NONFINITE) for tag in shared)


def _merge_into(target: dict[str, Value], record: Record) -> None:
    for tag, value in record.items():
        count = target.get(tag)
        if isinstance(count, float) and isinstance(value, float):
            value = max(count, value)
        target[tag] = value


def numbers_in(record: Record) -> dict[str, float]:
    """Returns the numbers of a record."""
    return {
        tag: value for tag, value in record.items() if not isinstance(value, Histogram)
    }


def histograms_in(record: Record) -> dict[str, Histogram]:
    """Returns the histograms of a record that have a finite value."""
    histograms = {
        tag: value for tag, value in record.items() if isinstance(value, Histogram)
    }
    return {
        tag: histogram
        for tag, histogram in histograms.items()
        if histogram.moments.count
    }
