"""Healthy ranges that rules, charts and their texts share."""

from typing import NamedTuple


class Band(NamedTuple):
    """Range of healthy values.

    Attributes:
        low: Lowest healthy value.
        usual: Rule of thumb.
        high: Highest healthy value.
    """

    low: float
    usual: float
    high: float


UPDATE_RATIOS = Band(-3.5, -3.0, -2.0)
"""log10 of the std of an update : that of its weight."""
