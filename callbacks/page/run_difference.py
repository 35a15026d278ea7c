"""RunDifference: the first step and place at which two runs differ."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ..health.markdown import table_of
from ..probe.selection import evenly_spread

if TYPE_CHECKING:
    from rich.console import Group

EQUAL = ("equal", "rounding")
"""Kinds of runs that do not differ."""

MOST_STEPS = 8
"""Rows of a table of steps."""

Table = tuple[list[str], list[list[str]]]
"""Titles of the columns, and the rows."""


class StageRow(NamedTuple):
    """Differences of one stage of a training step.

    Attributes:
        stage: One of `STAGES` of `tag_differences`.
        tags: Number of tags that both runs have at this step.
        differing: Number of tags that differ beyond the tolerance.
        largest: Largest relative difference.
        first: Layer or parameter that differs first in the order of computation; empty if none does.
    """

    stage: str
    tags: int
    differing: int
    largest: float
    first: str


@dataclass(frozen=True)
class RunDifference:
    """Comparison of the records of two runs.

    Attributes:
        runs: Names of the two.
        kind: "equal" to the last bit of all records; "rounding": nowhere beyond the tolerance; "drift": rounding
            errors that grow beyond the tolerance; or, of runs that part at once, the stage of the training step that
            differs first: "parameters", "activations", "loss", "gradients", "updates" or "numbers".
        message: The comparison in a few sentences.
        step: First step at which a value differs beyond the tolerance; None if none does.
        where: Layer or parameter that differs first at this step; the tag of a loss or of another number.
        tag: Tag of the values.
        values: Values of the two runs; of histograms, the extremes that are further apart.
        tolerance: Relative difference up to which values count as equal; gradients and updates may differ by 100 times
            as much.
        stages: Stages of that step, in the order of computation.
        growth: Largest relative difference of each common step; of gradients and updates, a hundredth of it.
        settings: Settings that differ between the runs, by name.
    """

    runs: tuple[str, str]
    kind: str
    message: str
    step: int | None = None
    where: str = ""
    tag: str = ""
    values: tuple[float, float] | None = None
    tolerance: float = 0.0
    stages: Sequence[StageRow] = ()
    growth: Sequence[tuple[int, float]] = ()
    settings: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @property
    def is_equal(self) -> bool:
        """True if no value differs beyond the tolerance."""
        return self.kind in EQUAL

    def to_dict(self) -> dict[str, Any]:
        """Returns all attributes for JSON, which has no NaN and no infinity: those are text."""
        fields = asdict(self)
        fields["stages"] = [row._asdict() for row in self.stages]
        return for_json(fields)

    def to_markdown(self) -> str:
        """Returns the message and the tables as Markdown."""
        tables = [table_of(*table) for table in self._tables()]
        return "\n\n".join([self._title, self.message, *tables]) + "\n"

    def __str__(self) -> str:
        return self.to_markdown()

    def __rich__(self) -> "Group":
        from rich.console import Group
        from rich.text import Text

        from .run_table import rich_table

        title = Text(self._title, "bold green" if self.is_equal else "bold red")
        parts: list[Any] = [title, Text(self.message)]
        for columns, rows in self._tables():
            cells = [[Text(cell) for cell in row] for row in rows]
            parts += [Text(), rich_table(columns, cells)]
        return Group(*parts)

    @property
    def _title(self) -> str:
        first, second = self.runs
        place = "" if self.step is None else f", step {self.step}: {self.tag}"
        return f"{first} and {second}: {self.kind}{place}"

    def _tables(self) -> list[Table]:
        """Returns the tables that have a row."""
        tables = [self._values(), self._stages(), self._growth(), self._settings()]
        return [table for table in tables if table[1]]

    def _values(self) -> Table:
        columns = ["step", "tag", *self.runs]
        if self.values is None:
            return columns, []
        return columns, [[str(self.step), self.tag, *map(precise, self.values)]]

    def _stages(self) -> Table:
        columns = ["stage", "tags", "differ", "largest difference", "first"]
        rows = [
            [
                row.stage,
                f"{row.tags}",
                f"{row.differing}",
                brief(row.largest),
                row.first,
            ]
            for row in self.stages
        ]
        return columns, rows

    def _growth(self) -> Table:
        """Returns some of the steps, of runs that differ by rounding."""
        columns = ["step", "largest difference (gradients and updates: / 100)"]
        if self.kind not in ("drift", "rounding"):
            return columns, []
        steps = evenly_spread(self.growth, MOST_STEPS)
        return columns, [[str(step), brief(size)] for step, size in steps]

    def _settings(self) -> Table:
        items = self.settings.items()
        rows = [[name, *map(str, values)] for name, values in items]
        return ["setting", *self.runs], rows


def precise(value: float) -> str:
    """Returns a number with all digits of float32."""
    return f"{value:.9g}"


def brief(size: float) -> str:
    """Returns a relative difference with two digits."""
    return "0" if size == 0 else f"{size:.1e}"


def for_json(value: Any) -> Any:
    """Replaces NaN and infinities by text, and tuples by lists."""
    if isinstance(value, Mapping):
        return {str(name): for_json(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [for_json(member) for member in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
