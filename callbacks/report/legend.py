"""Names and rows of a legend: as many as can be told apart, and no wider than there is room for in a picture."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

MOST_LINES = 12
"""Lines of a figure that can be told apart by color."""

LONGEST_NAME = 24
"""Characters of a name for which a legend has room that shows nothing else."""

SHORTEST_NAME = 10
"""Characters of a name at least, however many numbers stand beside it."""

WIDEST_ROW = 30
"""Characters of a row, half of the width of a picture."""

ELLIPSIS = "…"

Item = TypeVar("Item")


def choose_evenly(items: Sequence[Item], most: int = MOST_LINES) -> Sequence[Item]:
    """Returns at most so many items, two and more, evenly spread, with the first and the last."""
    if len(items) <= most:
        return items
    step = (len(items) - 1) / (most - 1)
    return [items[round(i * step)] for i in range(most)]


def legend_rows(
    names: Sequence[str], cells: Sequence[Mapping[str, str]], total: int
) -> list[str]:
    """Returns the header and one row a line, for a font of characters of one width.

    Args:
        names: Qualified names, which may be a selection.
        cells: Numbers beside each name, by the header of their column.
        total: Number of names that the selection was made from.

    Example:
        >>> legend_rows(["net.0.act", "net.2.act"], [{"std": "0.75"}, {"std": "1e-5"}], 2)
        ['       std', '0.act 0.75', '2.act 1e-5']
    """
    columns = list(dict.fromkeys(header for row in cells for header in row))
    widths = [
        max(len(column), *(len(row.get(column, "")) for row in cells))
        for column in columns
    ]
    room = WIDEST_ROW - sum(width + 1 for width in widths) if columns else LONGEST_NAME
    short = shorten_names(names, max(room, SHORTEST_NAME))
    corner = f"{len(names)} of {total}" if len(names) < total else ""
    first = max(map(len, [corner, *short]), default=0)
    header = _row(corner, columns, first, widths)
    rows = [
        _row(name, [row.get(column, "") for column in columns], first, widths)
        for name, row in zip(short, cells, strict=True)
    ]
    return [header, *rows]


def _row(name: str, cells: Sequence[str], first: int, widths: Sequence[int]) -> str:
    padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    return " ".join([name.ljust(first), *padded])


def shorten_names(names: Sequence[str], longest: int = LONGEST_NAME) -> list[str]:
    """Shortens qualified names that stand together; different names stay different.

    Components that all names begin with are dropped, as long as a letter is left in each name; and so are those that
    all end with. A name that is still too long is cut in the middle, or numbered where that does not tell names apart.

    Args:
        names: Names with dots, such as "encoder.layer.0.act".
        longest: Characters that a name has at most, at least 6.

    Example:
        >>> shorten_names([f"bert.encoder.layer.{i}.intermediate.act_fn" for i in (0, 11)])
        ['0.intermediate', '11.intermediate']
    """
    shortened = drop_shared(names)
    heads = sorted(range(longest), key=lambda head: abs(head - longest // 2))
    for head in heads:
        cut = [_cut(name, head, longest) for name in shortened]
        if len(set(cut)) == len(set(shortened)):
            return cut
    numbers = {name: number for number, name in enumerate(dict.fromkeys(shortened))}
    return [_numbered(name, numbers[name], longest) for name in shortened]


def drop_shared(names: Sequence[str]) -> list[str]:
    """Drops the components that all names begin or end with, as long as each name keeps a letter.

    Example:
        >>> drop_shared(["network.hidden.linear0.weight", "network.head.weight"])
        ['hidden.linear0', 'head']
    """
    parts = [name.split(".") for name in names]
    if len(set(names)) < 2:
        return list(names)
    for first, last in ((1, None), (0, -1)):
        place = 0 if first else -1
        shorter = [components[first:last] for components in parts]
        while _share(parts, place) and all(map(_is_recognizable, shorter)):
            parts = shorter
            shorter = [components[first:last] for components in parts]
    return [".".join(components) for components in parts]


def _share(parts: Sequence[Sequence[str]], place: int) -> bool:
    """True if all names have the same first (0) or last (-1) component, and others besides."""
    components = {name[place] for name in parts}
    return len(components) == 1 and min(map(len, parts)) > 1


def _is_recognizable(components: Sequence[str]) -> bool:
    """True if a name has a letter: a number alone is not a name."""
    return any(character.isalpha() for character in "".join(components))


def _cut(name: str, head: int, length: int) -> str:
    """Cuts a name that is longer than `length` after `head` characters."""
    if len(name) <= length:
        return name
    tail = length - len(ELLIPSIS) - head
    return name[:head] + ELLIPSIS + name[len(name) - tail :]


def _numbered(name: str, number: int, length: int) -> str:
    end = f"{ELLIPSIS}#{number}"
    return name[: length - len(end)] + end
