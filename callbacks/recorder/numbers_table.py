"""Numbers of the last steps as a CSV file, a row a step."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from .rows import Numbers

OUTPUT, GRADIENT = "output/", "gradient/"
"""Begin of the columns with the largest magnitude of a layer's output, and the norm of a parameter's gradient."""

RATE = "learning_rate"
SINGLE = ("step", "loss", "grad_norm", "grad_norm_clipped")


def write_numbers(path: Path, numbers: Sequence[Numbers]) -> None:
    """Writes a CSV file; a number that a step does not have is empty."""
    rows = [columns_of(each) for each in numbers]
    header = _in_order(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(rows)


def columns_of(numbers: Numbers) -> dict[str, float | None]:
    """Returns the numbers of a step by column."""
    values = numbers.step, numbers.loss, numbers.grad_norm, numbers.clipped
    row: dict[str, float | None] = dict(zip(SINGLE, values, strict=True))
    for index, rate in enumerate(numbers.learning_rates):
        row[f"{RATE}_{index}" if index else RATE] = rate
    row |= {f"{OUTPUT}{name}": value for name, value in numbers.magnitudes.items()}
    row |= {f"{GRADIENT}{name}": value for name, value in numbers.gradients.items()}
    return row


def _in_order(rows: Iterable[dict[str, float | None]]) -> list[str]:
    """Returns all columns: those of a step, the rates, the outputs, and the gradients."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    kinds = (*SINGLE, RATE, OUTPUT, GRADIENT)

    def place(name: str) -> int:
        return next(i for i, kind in enumerate(kinds) if name.startswith(kind))

    return sorted(columns or SINGLE, key=place)


def read_numbers(path: Path) -> list[Numbers]:
    """Reads what `write_numbers` wrote; the floats are the same to the last bit.

    Raises:
        ValueError: If the file has no steps.
    """
    with path.open(newline="", encoding="utf-8") as file:
        try:
            rows = list(csv.DictReader(file))
        except csv.Error as error:
            raise ValueError(f"{path.name}: {error}") from error
    if not rows or "step" not in rows[0]:
        raise ValueError(f"{path.name} has no column step")
    return [_numbers_of(row) for row in rows]


def _numbers_of(row: dict[str, str]) -> Numbers:
    values = {name: float(text) for name, text in row.items() if text}
    loss = values.get("loss")
    return Numbers(
        int(values["step"]),
        () if loss is None else (loss,),
        _with_prefix(values, OUTPUT),
        _with_prefix(values, GRADIENT),
        values.get("grad_norm"),
        values.get("grad_norm_clipped"),
        tuple(_with_prefix(values, RATE).values()),
    )


def _with_prefix(values: dict[str, float], prefix: str) -> dict[str, float]:
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix)
    }
