"""How measurements become the numbers that are written, by tag."""

from collections.abc import Iterable, Mapping
from typing import Any

from ._histogram import Histogram


def spread_record(values: Mapping[str, Any]) -> dict[str, float | Histogram]:
    """Returns each histogram, its mean and its std, as far as there are any.

    Args:
        values: What was measured, under tags such as "activation/hidden.tanh0"; other than histograms is left out.
    """
    record: dict[str, float | Histogram] = {}
    for tag, value in values.items():
        if isinstance(value, Histogram) and value.moments.count:
            plot, name = tag.split("/", 1)
            record |= {tag: value, f"{plot}_mean/{name}": value.moments.mean}
            if value.moments.std is not None:
                record[f"{plot}_std/{name}"] = value.moments.std
    return record


def joined(records: Iterable[Mapping[str, float | Histogram]]) -> dict[str, float | Histogram]:
    """Returns all as one: of a number that several have, as a count of what is not finite, the larger stands."""
    found: dict[str, float | Histogram] = {}
    for tag, value in (entry for record in records for entry in record.items()):
        known = found.get(tag)
        found[tag] = max(known, value) if isinstance(known, float) and isinstance(value, float) else value
    return found


def name_in(tag: str) -> str:
    """Returns the name of a layer or parameter that a tag has after its plot."""
    return tag.partition("/")[2]
