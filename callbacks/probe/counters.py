"""Numbers that modules count on from step to step, such as the number of calls."""

from typing import Any, NamedTuple

from torch import nn

FULL_READS = 4
"""Steps in which all numbers of all modules are read; after them only those that have changed."""


class Count(NamedTuple):
    """Number among the attributes of a module."""

    module: nn.Module
    name: str
    value: Any


class Counters:
    """Attributes with numbers that change while a model trains; to run a step again, they have to be set back.

    Args:
        root: The model.
    """

    def __init__(self, root: nn.Module) -> None:
        self._root = root
        self._reads = 0
        self._last: dict[tuple[nn.Module, str], Any] = {}
        self._changing: dict[tuple[nn.Module, str], None] = {}

    def read(self) -> list[Count]:
        """Returns the numbers as they are before a step."""
        if self._reads < FULL_READS:
            self._reads += 1
            return self._read_all()
        return [
            Count(module, name, vars(module)[name])
            for module, name in self._changing
            if name in vars(module)
        ]

    def _read_all(self) -> list[Count]:
        values = {
            (module, name): value
            for module in self._root.modules()
            for name, value in vars(module).items()
            if isinstance(value, int | float)
        }
        for place, value in values.items():
            if place in self._last and self._last[place] != value:
                self._changing[place] = None
        self._last = values if self._reads < FULL_READS else {}
        return [Count(*place, value) for place, value in values.items()]


def set_counts(counts: list[Count]) -> None:
    """Sets numbers back to what they were."""
    for module, name, value in counts:
        if name in vars(module):
            vars(module)[name] = value
