"""Summary of the network's layers that fits a terminal of 80 columns."""

from typing import Any

from lightning.pytorch.callbacks import ModelSummary
from rich.console import Console
from rich.table import Table

NETWORK = "network."
"""Prefix of the names of the network's layers."""

COLUMNS = ("Type", "Params", "In sizes", "Out sizes")


class LayerSummary(ModelSummary):
    """Prints the name, type, parameters and sizes of each layer of `MakemoreModule.network`.

    Lightning's own summary shows one line, "network"; at a greater depth, the metrics as well and columns that 80 do
    not hold.
    """

    def __init__(self) -> None:
        super().__init__(max_depth=3)

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]],
        total_parameters: int,
        *_: Any,
        **__: Any,
    ) -> None:
        columns = dict(summary_data)
        table = Table("Layer", *COLUMNS, box=None, pad_edge=False)
        rows = zip(*(columns[name] for name in ("Name", *COLUMNS)), strict=True)
        for name, layer, *values in rows:
            # A container is the sum of its layers.
            if name.startswith(NETWORK) and layer != "Sequential":
                table.add_row(name.removeprefix(NETWORK), layer, *values)
        Console(width=80).print(table, f"{total_parameters:,} parameters")
