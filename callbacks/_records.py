"""How measurements become the numbers that are written, by tag."""

from collections.abc import Mapping
from typing import Any

from ._histogram import Histogram

Record = Mapping[str, float | Histogram]
"""Tags and what they stand for at one step."""


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


def joined(one: Record, other: Record) -> Record | None:
    """Returns two records as one; None if they have a tag in common, as those of two instruments of a class.

    Of counts of what is not finite, which a layer and its gradient have in common, the larger stands.
    """
    both = one.keys() & other.keys()
    if not all(tag.startswith("nonfinite/") for tag in both):
        return None
    counts = {tag: (one[tag], other[tag]) for tag in both}
    larger = {tag: max(a, b) for tag, (a, b) in counts.items() if isinstance(a, float) and isinstance(b, float)}
    return {**one, **other} | larger


def name_in(tag: str) -> str:
    """Returns the name of a layer or parameter that a tag has after its plot."""
    return tag.partition("/")[2]
