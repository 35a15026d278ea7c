"""Tables in Markdown."""

from collections.abc import Sequence


def table_of(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(escaped, line))} |" for line in lines)


def escaped(cell: str) -> str:
    """Returns text for a cell of a Markdown table."""
    return cell.replace("|", "\\|").replace("\n", " ")
