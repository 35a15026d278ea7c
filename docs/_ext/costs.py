"""Sphinx extension: the measured cost of a callback, from the tables of benchmarks/README.md.

The line `<!-- cost GradStats -->` of a page stands for the rows of GradStats, one for each network.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from excerpts import ROOT, section

if TYPE_CHECKING:
    from sphinx.application import Sphinx

BENCHMARKS = ROOT / "benchmarks" / "README.md"

MARKER = re.compile(r"^<!-- cost (.+?) -->$", re.MULTILINE)
TABLE = re.compile(r"^(\w+) \((.+?)\):\n\n((?:\|.*\n?)+)", re.MULTILINE)


def cost_text(way: str, benchmarks: Path = BENCHMARKS) -> str:
    """Returns a table of the rows that a callback has in the tables of costs.

    Args:
        way: First cell of its rows.
        benchmarks: File with a table for each network.

    Raises:
        ValueError: If it has no row.
    """
    text = section(benchmarks.read_text(encoding="utf-8"), "Cost of a due step")
    lines: list[str] = []
    for network, size, table in TABLE.findall(text):
        header, line, *rows = table.splitlines()
        if not lines:
            lines = [header.replace("way", "network", 1), line]
        place = f"{network} ({size})"
        lines += [row.replace(way, place, 1) for row in rows if first_cell(row) == way]
    if len(lines) < 3:
        raise ValueError(f"{benchmarks} has no row for {way}")
    return "\n".join(lines)


def first_cell(row: str) -> str:
    return row.split("|")[1].strip()


def read_page(app: "Sphinx", docname: str, source: list[str]) -> None:
    """Puts costs into a page. The page is read again when the tables have changed."""
    if MARKER.search(source[0]):
        app.env.note_dependency(str(BENCHMARKS))
        source[0] = MARKER.sub(lambda marker: cost_text(marker[1]), source[0])


def setup(app: "Sphinx") -> dict[str, bool]:
    app.connect("source-read", read_page)
    return {"parallel_read_safe": True}
