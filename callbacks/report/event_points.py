"""Event points: the selection of the points of a run that an event file holds, few enough for TensorBoard to show all.

TensorBoard keeps 1000 scalars and 10 pictures of a tag, and hands out 51 histograms. Of more it draws a random sample,
in which the first steps are missing: initialization is what they show.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass, field

from ..measure.histogram import Histogram
from .record import Record, Value


@dataclass(frozen=True, slots=True)
class Points:
    """Points of one tag that are selected so far.

    Attributes:
        count: Number of points.
        last: Step of the last one.
        following: Step from which on the next one is selected.
    """

    count: int
    last: int
    following: int


@dataclass
class Selection:
    """Steps of each tag whose points are written, of a run of any length.

    The length of the run need not be known: the distance to the next point grows in proportion to the step, and faster
    once few points are left.

    Args:
        limit: Points of a tag at most; the point of the last step comes on top.
        growth: Distance to the next point, as a fraction of the step.
        slack: Of this divided by the number of points left, if larger, the distance is that fraction of the step.
        powers_to: Steps 0, 1, 2, 4, 8, ... up to this one are selected in any case.
        counts_earlier: Whether points before the first step that is asked for count, as if every step had been due.

    Example:
        >>> selection = Selection(limit=12, growth=1.0, slack=2.0)
        >>> [step for step in range(1000) if selection.takes("loss", step)]
        [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    """

    limit: int
    growth: float
    slack: float
    powers_to: float = math.inf
    counts_earlier: bool = False
    _points: dict[Hashable, Points] = field(default_factory=dict)

    def takes(self, tag: Hashable, step: int) -> bool:
        """True if the point of a tag at a step is selected; steps are asked for in ascending order."""
        points = self._points.get(tag)
        if points is None:
            points = Points(self._count_before(step), last=-1, following=0)
        if step == points.last:
            return True  # of a second record with this tag
        is_power = step & (step - 1) == 0 and step <= self.powers_to
        if points.count >= self.limit or not (is_power or step >= points.following):
            return False
        count = points.count + 1
        self._points[tag] = Points(count, step, step + self._distance(step, count))
        return True

    def _count_before(self, step: int) -> int:
        """Counts the points before the first step that is asked for, which a resumed run has written already."""
        earlier, count = 0, 0
        while self.counts_earlier and earlier < step and count < self.limit:
            count += 1
            following = earlier + self._distance(earlier, count)
            power = 1 << earlier.bit_length()  # the next power of two
            earlier = int(
                min(following, power) if power <= self.powers_to else following
            )
        return count

    def _distance(self, step: int, count: int) -> int:
        left = max(self.limit - count, 1)
        return max(1, int(step * max(self.growth, self.slack / left)))


def select_numbers() -> Selection:
    """Returns the selection of scalars; with the last step and two points of each resumed run at most 1000."""
    return Selection(limit=980, growth=1 / 128, slack=3.0)


def select_histograms() -> Selection:
    """Returns the selection of histograms; with the last step and two points of a resumed run at most 51."""
    return Selection(limit=48, growth=1 / 4, slack=4.0)


def select_pictures() -> Selection:
    """Returns the selection of pictures; with the last step, of a resumed run twice, at most 10."""
    return Selection(limit=8, growth=6.0, slack=8.0, powers_to=4, counts_earlier=True)


class EventPoints:
    """Values that are written to an event file: selected ones as the run goes, and the last ones at its end."""

    def __init__(self) -> None:
        self._numbers, self._histograms = select_numbers(), select_histograms()
        self._unwritten: dict[str, tuple[int, Value]] = {}

    def select(self, record: Record, step: int) -> dict[str, Value]:
        """Returns the values of a step that are written; keeps the others until the next step or the end."""
        selected: dict[str, Value] = {}
        for tag, value in record.items():
            is_histogram = isinstance(value, Histogram)
            selection = self._histograms if is_histogram else self._numbers
            if selection.takes(tag, step):
                selected[tag] = value
                self._unwritten.pop(tag, None)
            else:
                self._unwritten[tag] = (step, value)
        return selected

    def take_last(self) -> dict[int, dict[str, Value]]:
        """Returns the last value of each tag, by step, where it was not selected; each value once."""
        unwritten, self._unwritten = self._unwritten, {}
        records: dict[int, dict[str, Value]] = {}
        for tag, (step, value) in unwritten.items():
            records.setdefault(step, {})[tag] = value
        return dict(sorted(records.items()))
