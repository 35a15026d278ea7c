"""Plain text for a terminal: a table that fits its width, and paragraphs."""

import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..report.legend import shorten_names

if TYPE_CHECKING:
    from rich.text import Text

NARROWEST, WIDEST = 80, 140
"""Characters of a line, whatever the terminal has."""

SHORTEST_NAME = 12
"""Characters of a name at least."""

COLORS = {
    "fail": "bold red",
    "grows": "red",
    "warn": "yellow",
    "shrinks": "yellow",
    "ok": "green",
    "flat": "green",
}
"""Styles of the verdicts."""

Row = Sequence[str]


def terminal_width() -> int:
    """Returns the characters of a line."""
    columns = shutil.get_terminal_size((NARROWEST, 24)).columns
    return min(max(columns, NARROWEST), WIDEST)


def text_table(header: Row, rows: Sequence[Row], width: int) -> list[str]:
    """Returns the lines of a table, with the names of the first column shortened to fit.

    Args:
        header: Titles of the columns.
        rows: Cells; the first of each row is a name with dots, the last is left-aligned.
        width: Characters of a line.

    Example:
        >>> text_table(("layer", "std", "verdict"), [("net.0", "0.75", "ok"), ("net.1", "1e-5", "fail")], 80)
        ['layer   std  verdict', 'net.0  0.75  ok', 'net.1  1e-5  fail']
    """
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns[1:]]
    names = [row[0] for row in rows]
    longest = max(map(len, [header[0], *names]))
    gap = 2 if longest + sum(widths) + 2 * len(widths) <= width else 1
    room = width - sum(widths) - gap * len(widths)
    if max(map(len, names), default=0) > room:
        names = shortened(names, max(room, SHORTEST_NAME))
    first = max(map(len, [header[0], *names]))
    lines = [_line(header, first, widths, gap)]
    for name, row in zip(names, rows, strict=True):
        lines.append(_line((name, *row[1:]), first, widths, gap))
    return lines


def shortened(names: Sequence[str], room: int) -> list[str]:
    """Returns names of at most so many characters: the first components as initials, as many as need be.

    Example:
        >>> shortened(["model.encoder.0.attention.query", "model.encoder.1.attention.query"], 16)
        ['m.e.0.a.query', 'm.e.1.a.query']
    """
    cut = [_with_initials(name, room) for name in names]
    is_unique = len(set(cut)) == len(set(names))
    return cut if is_unique else shorten_names(names, room)


def _with_initials(name: str, room: int) -> str:
    components = name.split(".")
    for place in range(len(components) - 1):
        if len(".".join(components)) <= room:
            break
        components[place] = _initial(components[place])
    short = ".".join(components)
    return short if len(short) <= room else f"…{short[1 - room :]}"


def _initial(component: str) -> str:
    """Returns the first letter of a component and the number at its end."""
    digits = component[len(component.rstrip("0123456789")) :]
    return component if component == digits else component[0] + digits


def _line(row: Row, first: int, widths: Sequence[int], gap: int) -> str:
    cells = [row[0].ljust(first)]
    cells += [cell.rjust(size) for cell, size in zip(row[1:-1], widths, strict=False)]
    return (gap * " ").join([*cells, row[-1]]).rstrip()


def colored(text: str) -> "Text":
    """Returns plain text for rich, with verdicts in colors: at the start of a line, at its end, and after "health"."""
    from rich.text import Text

    result = Text(text)
    for word, style in COLORS.items():
        result.highlight_regex(rf"(?m)^{word}\b|\b{word}$|(?<=health ){word}", style)
    return result


def paragraph(text: str, width: int, indent: str = "  ") -> list[str]:
    """Returns the lines of a paragraph, all but the first indented."""
    return textwrap.wrap(text, width, subsequent_indent=indent) or [""]
