"""RunTable: a row a run, and what differs between their settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..health.markdown import table_of
from .comparison import RunRow, numbers_of

if TYPE_CHECKING:
    from rich.console import Group


@dataclass(frozen=True)
class RunTable:
    """Comparison of runs.

    Attributes:
        rows: A row a run.
        differing_settings: Settings that are not the same in all runs, by name, a value a run.
    """

    rows: Sequence[RunRow]
    differing_settings: Mapping[str, Sequence[Any]]

    def to_markdown(self) -> str:
        """Returns the table, and the settings that differ, as Markdown."""
        parts = [table_of(self._columns, self._cells)]
        if self.differing_settings:
            parts.append(table_of(*self._settings))
        return "\n\n".join(parts) + "\n"

    def __str__(self) -> str:
        return self.to_markdown()

    def __rich__(self) -> "Group":
        from rich.console import Group

        tables = [rich_table(self._columns, self._cells)]
        if self.differing_settings:
            tables.append(rich_table(*self._settings))
        return Group(*tables)

    @property
    def _columns(self) -> list[str]:
        return list(numbers_of(self.rows[0]))

    @property
    def _cells(self) -> list[list[str]]:
        return [list(numbers_of(row).values()) for row in self.rows]

    @property
    def _settings(self) -> tuple[list[str], list[list[str]]]:
        names = ["setting", *(row.name for row in self.rows)]
        items = self.differing_settings.items()
        return names, [[name, *map(str, values)] for name, values in items]


def rich_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """Returns a table for the terminal."""
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    return table
