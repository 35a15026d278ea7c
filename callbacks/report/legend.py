"""Names in a legend: as many as can be told apart, and no longer than a legend is wide."""

from collections.abc import Sequence
from typing import TypeVar

MOST_LINES = 12
"""Lines of a figure that can be told apart by color."""

LONGEST_NAME = 28
"""Characters of a name for which a legend has room."""

ELLIPSIS = "…"

Item = TypeVar("Item")


def choose_evenly(items: Sequence[Item]) -> Sequence[Item]:
    """Returns at most `MOST_LINES` items, evenly spread, with the first and the last."""
    if len(items) <= MOST_LINES:
        return items
    step = (len(items) - 1) / (MOST_LINES - 1)
    return [items[round(i * step)] for i in range(MOST_LINES)]


def shorten_names(names: Sequence[str], longest: int = LONGEST_NAME) -> list[str]:
    """Shortens qualified names for a legend; different names stay different.

    While a name is too long, components that all names begin with are dropped, then those that all names end with.
    What is still too long is cut in the middle.

    Args:
        names: Names with dots, such as "encoder.layer.0.act".
        longest: Characters that a name should have at most. It has more where names could not be told apart.

    Example:
        >>> shorten_names([f"bert.encoder.layer.{i}.intermediate.intermediate_act_fn" for i in (0, 11)])
        ['…0.intermediate…', '…11.intermediate…']
    """
    shortened = _drop_common_ends(names, longest)
    lengths = [len(name) for name in shortened]
    for length in range(longest, max(lengths, default=0)):
        cut = _cut_apart(shortened, length)
        if cut is not None:
            return cut
    return shortened


def _drop_common_ends(names: Sequence[str], longest: int) -> list[str]:
    """Drops the fewest components that make all names short enough, as far as all names share the components."""
    parts = [name.split(".") for name in names]
    shortened = list(names)
    start, end = "", ""
    while _is_too_long(shortened, longest) and _share(parts, 0):
        start = ELLIPSIS
        parts = [components[1:] for components in parts]
        shortened = [start + ".".join(components) for components in parts]
    while _is_too_long(shortened, longest) and _share(parts, -1):
        end = ELLIPSIS
        parts = [components[:-1] for components in parts]
        shortened = [start + ".".join(components) + end for components in parts]
    return shortened


def _is_too_long(names: Sequence[str], longest: int) -> bool:
    return any(len(name) > longest for name in names)


def _share(parts: Sequence[Sequence[str]], place: int) -> bool:
    """True if all names have the same first (0) or last (-1) component, and others besides."""
    components = {name[place] for name in parts}
    return len(components) == 1 and min(map(len, parts)) > 1


def _cut_apart(names: Sequence[str], length: int) -> list[str] | None:
    """Cuts long names as near to their middle as they stay different; None if they do not."""
    middle = length // 2
    heads = sorted(range(length), key=lambda head: abs(head - middle))
    for head in heads:
        cut = [_cut(name, head, length) for name in names]
        if len(set(cut)) == len(set(names)):
            return cut
    return None


def _cut(name: str, head: int, length: int) -> str:
    """Cuts a name that is longer than `length` after `head` characters."""
    if len(name) <= length:
        return name
    tail = length - len(ELLIPSIS) - head
    return name[:head] + ELLIPSIS + name[len(name) - tail :]
