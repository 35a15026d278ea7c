"""RangeTable: ranges of the values of all tensors, and whether they fit into 8 bits, as a table."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..health.markdown import table_of
from ..report.plots import compact, percent
from .range_row import RangeRow

EIGHT_BITS = ("e4m3", "e5m2")


@dataclass(frozen=True)
class RangeTable:
    """Ranges of all tensors of a step, and an answer for each: does it fit into fp8, and with which scale?

    The answer is for the usual recipe: e4m3 for activations and weights, e5m2 for gradients and updates, with a power
    of two as the scale of each tensor. A tensor fits if no value is too large and at most a hundredth of the values
    other than zero become zero.

    Attributes:
        formats: Formats with a column.
        rows: One row a tensor.

    Example:
        >>> RangeTable(("fp16", "e4m3")).summary
        'fp8: no tensor was measured.'
    """

    formats: tuple[str, ...]
    rows: tuple[RangeRow, ...] = ()

    @property
    def summary(self) -> str:
        """One sentence with the number of tensors that fit."""
        if not self.rows:
            return "fp8: no tensor was measured."
        numbers = Counter(row.fits for row in self.rows)
        return (
            f"fp8: of {len(self.rows)} tensors {numbers['as it is']} fit as they are, "
            f"{numbers['scaled']} with a scale, {numbers['no']} do not."
        )

    def row(self, tensor: str, name: str) -> RangeRow:
        """Returns the row of a tensor.

        Args:
            tensor: "activation", "activation_grad", "weight", "weight_grad" or "update".
            name: Name of the layer or parameter.

        Raises:
            KeyError: If there is none; lists what there is.
        """
        rows = {(row.tensor, row.name): row for row in self.rows}
        if (tensor, name) not in rows:
            raise KeyError(
                f"no {tensor} of {name!r}; there are {', '.join(map(' of '.join, rows))}"
            )
        return rows[tensor, name]

    def to_dict(self) -> dict[str, Any]:
        """Returns what `to_json` writes."""
        return {"summary": self.summary, "rows": [row.to_dict() for row in self.rows]}

    def to_json(self) -> str:
        """Returns all rows as JSON, with the counts of all formats."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def to_markdown(self) -> str:
        """Returns the summary and a table."""
        if not self.rows:
            return f"{self.summary}\n"
        columns = ["tensor", "largest", *self.formats]
        if self._has_eight_bits:
            columns += ["fits into", "largest scale"]
        table = table_of(columns, [self._cells(row) for row in self.rows])
        return f"{self.summary}\n\n{table}\n"

    def __str__(self) -> str:
        return self.to_markdown()

    @property
    def _has_eight_bits(self) -> bool:
        return bool({*self.formats} & {*EIGHT_BITS})

    def _cells(self, row: RangeRow) -> Sequence[str]:
        cells = [f"{row.tensor}/{row.name}", compact(row.largest)]
        cells += [cell_of(row, name) for name in self.formats]
        if not self._has_eight_bits:
            return cells
        return [*cells, answer_of(row), scale_of(row)]


def cell_of(row: RangeRow, format_name: str) -> str:
    """Returns what a cast would change of a tensor: values lost, subnormal, and too large."""
    if not row.count:
        return "nothing finite"
    fractions = row.fractions(format_name)
    words = {"underflow": "lost", "subnormal": "subnormal", "overflow": "too large"}
    cells = [
        f"{percent(fractions[kind])} {word}"
        for kind, word in words.items()
        if fractions[kind]
    ]
    return ", ".join(cells) or "all normal"


def answer_of(row: RangeRow) -> str:
    """Returns the format of 8 bits that a tensor fits into, and with which scale."""
    answers = {
        "as it is": f"{row.fp8} as it is",
        "scaled": f"{row.fp8} times 2^{row.scale}",
        "no": f"not {row.fp8}",
    }
    return answers[row.fits]


def scale_of(row: RangeRow) -> str:
    """Returns the largest scale without overflow, and the fraction of the values other than zero that it loses."""
    if row.scale is None:
        return "any" if row.count else "none"
    limit = "up to " if row.lost_scaled else ""
    return f"2^{row.scale}: {limit}{percent(row.lost_scaled)} of nonzero lost"
