"""History: the numbers of a fit by tag, bounded in memory."""

from array import array
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..measure.histogram import Histogram

MOST_POINTS = 4096
"""Points of a tag that are kept; of more, every second one is dropped."""

FIRST = 64
"""First points of a tag, which are never dropped."""


class Series(NamedTuple):
    """Numbers of one tag.

    Attributes:
        steps: Observed steps, ascending.
        values: Number at each of them.
    """

    steps: list[int]
    values: list[float]


class History(Mapping[str, Series]):
    """Numbers of the due steps of a fit, by tag; histograms are left out.

    Args:
        most_points: Points of a tag that are kept, more than `FIRST`. When there are more, every second one after the
            first 64 is dropped.

    Example:
        >>> history = History()
        >>> for step in (0, 1, 2, 4):
        ...     history.add(step, {"grad_norm/total": 1.0 / (1 + step)})
        >>> history["grad_norm/total"]
        Series(steps=[0, 1, 2, 4], values=[1.0, 0.5, 0.3333333333333333, 0.2])
        >>> history
        History of 1 tags, 4 steps: grad_norm/total
    """

    def __init__(self, most_points: int = MOST_POINTS) -> None:
        self._most_points = most_points
        self._steps: dict[str, array[int]] = {}
        self._values: dict[str, array[float]] = {}

    def add(self, step: int, record: Mapping[str, float | Histogram]) -> None:
        """Adds the numbers of a step."""
        for tag, value in record.items():
            if isinstance(value, Histogram):
                continue
            steps = self._steps.get(tag)
            if steps is None:
                steps = self._steps[tag] = array("q")
                self._values[tag] = array("d")
            elif len(steps) >= self._most_points:
                steps = self._thin_out(tag)
            steps.append(step)
            self._values[tag].append(value)

    def __getitem__(self, tag: str) -> Series:
        if tag not in self._steps:
            raise KeyError(f"no numbers of {tag!r}; there are {', '.join(self)}")
        return Series(self._steps[tag].tolist(), self._values[tag].tolist())

    def __iter__(self) -> Iterator[str]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    def __repr__(self) -> str:
        points = max(map(len, self._steps.values()), default=0)
        return f"History of {len(self)} tags, {points} steps: {', '.join(self)}"

    def _thin_out(self, tag: str) -> "array[int]":
        """Drops every second point after the first ones."""
        steps, values = self._steps[tag], self._values[tag]
        self._values[tag] = values[:FIRST] + values[FIRST::2]
        self._steps[tag] = steps[:FIRST] + steps[FIRST::2]
        return self._steps[tag]
