"""How a measurement becomes the numbers that are written."""

from ._histogram import Histogram


def spread_record(tag: str, histogram: Histogram) -> dict[str, float | Histogram]:
    """Returns a histogram, its mean and its std, as far as there are any.

    Args:
        tag: Such as "activation/hidden.tanh0".
        histogram: What was measured.
    """
    if not histogram.moments.count:
        return {}
    plot, _, name = tag.partition("/")
    record: dict[str, float | Histogram] = {tag: histogram, f"{plot}_mean/{name}": histogram.moments.mean}
    if histogram.moments.std is not None:
        record[f"{plot}_std/{name}"] = histogram.moments.std
    return record
