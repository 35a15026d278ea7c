"""EventFile: one event file of TensorBoard, with descriptions of its tags and a layout of its charts."""

import contextlib
from collections.abc import Mapping
from typing import Any

from .custom_scalars import layout_value
from .drawing import Picture
from .overview import numbers_by_plot
from .record import Record
from .tensorboard import bytes_value, messages_for, picture_summary, record_summary


class EventFile:
    """Writes records and pictures as events.

    Args:
        events: Object that writes the event file, of TensorBoard or tensorboardX.
    """

    def __init__(self, events: Any) -> None:
        self._events, self._messages = events, messages_for(events)
        self._described: set[str] = set()
        self._sizes: dict[str, int] = {}

    def write_record(
        self, record: Record, step: int, numbers: Mapping[str, float] | None = None
    ) -> None:
        """Writes numbers and histograms as one event.

        Args:
            record: Numbers and histograms by tag.
            step: Step that was measured.
            numbers: All numbers of the step, of which some may not be written: charts are laid out for them.
        """
        summary = record_summary(record, self._messages, self._described)
        self._described |= record.keys()
        summary.value.extend(self._layout(numbers or {}))
        self._events.add_summary(summary, step)

    def write_picture(self, picture: Picture) -> None:
        """Writes a picture."""
        summary = picture_summary(picture, self._messages)
        self._events.add_summary(summary, picture.step)

    def write_data(self, name: str, data: str, step: int) -> None:
        """Writes JSON for `write_report`; TensorBoard does not show it."""
        value = bytes_value(f"{name}/json", data.encode(), "callbacks", self._messages)
        self._events.add_summary(self._messages.Summary(value=[value]), step)

    def _layout(self, numbers: Mapping[str, float]) -> list[Any]:
        """Returns the layout of the Custom Scalars page, where there are charts that it does not have yet."""
        groups = numbers_by_plot(numbers)
        sizes = {plot: len(group) for plot, group in groups.items() if group}
        if sizes.keys() <= self._sizes.keys():
            return []
        self._sizes |= sizes
        # Without TensorBoard, beside tensorboardX, there is no page to lay out.
        with contextlib.suppress(ImportError):
            return [layout_value(self._sizes, self._messages)]
        return []
