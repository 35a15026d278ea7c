"""Plain text for a terminal: a table that fits its width, and paragraphs."""

import shutil
import textwrap
from collections.abc import Sequence

from ..report.legend import shorten_names

NARROWEST, WIDEST = 80, 140
"""Characters of a line, whatever the terminal has."""

SHORTEST_NAME = 12
"""Characters of a name at least."""

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
    gap = 2 if sum(widths) + 2 * len(widths) + SHORTEST_NAME <= width else 1
    room = width - sum(widths) - gap * len(widths)
    names = [row[0] for row in rows]
    if max(map(len, names), default=0) > room:
        names = shorten_names(names, max(room, SHORTEST_NAME))
    first = max(map(len, [header[0], *names]))
    lines = [_line(header, first, widths, gap)]
    for name, row in zip(names, rows, strict=True):
        lines.append(_line((name, *row[1:]), first, widths, gap))
    return lines


def _line(row: Row, first: int, widths: Sequence[int], gap: int) -> str:
    cells = [row[0].ljust(first)]
    cells += [cell.rjust(size) for cell, size in zip(row[1:-1], widths, strict=False)]
    return (gap * " ").join([*cells, row[-1]]).rstrip()


def paragraph(text: str, width: int, indent: str = "  ") -> list[str]:
    """Returns the lines of a paragraph, all but the first indented."""
    return textwrap.wrap(text, width, subsequent_indent=indent) or [""]
