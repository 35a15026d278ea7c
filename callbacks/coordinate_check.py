"""coordinate_check: scale of activations and updates against the width of a network."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from ._messages import InstrumentError
from .report.notebook import draw_plot
from .report.number_text import compact
from .report.plots import WidthPlot
from .trial.coordinates import Coordinates, FixedBatch
from .trial.text_table import colored, paragraph, terminal_width, text_table
from .trial.trial import run_trial
from .trial.untouched import untouched
from .trial.width_row import WidthRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.text import Text

LEGEND = (
    "start, scale: slope of log(mean |output|) over log(width) before the first and after the last step; update: the "
    "same of the change of the output. Flat: within 0.25 of 0. A learning rate of one width is right for another "
    "where all layers are flat (maximal update parametrization)."
)

MakeModel = Callable[[int], nn.Module]


@dataclass(frozen=True)
class CoordinateCheck:
    """Scale of activations and updates of a network at several widths.

    Attributes:
        widths: Widths, ascending.
        rows: Numbers of each layer, in the order of the calls.
    """

    widths: tuple[int, ...]
    rows: tuple[WidthRow, ...]

    @property
    def verdict(self) -> Literal["ok", "warn"]:
        """Returns "ok" if all layers are flat. A single training can be healthy where they are not."""
        return "ok" if all(row.verdict == "flat" for row in self.rows) else "warn"

    def to_dict(self) -> dict[str, Any]:
        """Returns what `to_json` writes."""
        layers = [row.to_dict() for row in self.rows]
        return {
            "verdict": self.verdict,
            "widths": list(self.widths),
            "layers": layers,
        }

    def to_json(self) -> str:
        """Returns the check as JSON; numbers that are not finite are null."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def __str__(self) -> str:
        """Returns a table as plain text that fits the terminal."""
        width = terminal_width()
        ends = (str(self.widths[0]), str(self.widths[-1]))
        header = ("layer", *ends, "start", "scale", "update", "verdict")
        cells = [cells_of(row) for row in self.rows]
        lines = text_table(header, cells, width)
        return "\n".join([*lines, "", *paragraph(LEGEND, width, "")])

    def __rich__(self) -> "Text":
        """Returns the same with colors, for rich."""
        return colored(str(self))

    def figure(self) -> "Figure":
        """Draws the scales after the last step over the width, one line a layer, and dotted the updates.

        Raises:
            ValueError: Without matplotlib.
        """
        lines = {row.layer: row.scales[-1] for row in self.rows}
        dotted = {row.layer: row.updates[-1] for row in self.rows if row.updates}
        slopes = {row.layer: _slope(row.slope) for row in self.rows}
        step = len(self.rows[0].scales) - 1 if self.rows else 0
        title = (
            f"scale of activations (solid) and their updates (dotted) at step {step}"
        )
        return draw_plot(WidthPlot(title, self.widths, lines, dotted, slopes))


def coordinate_check(
    make_model: MakeModel,
    data: Any = None,
    widths: Sequence[int] = (64, 128, 256, 512, 1024),
    steps: int = 4,
    seeds: int = 1,
    accelerator: str = "auto",
    **trainer_arguments: Any,
) -> CoordinateCheck:
    """Trains a network for a few steps at several widths, and compares the scale of its layers.

    In a parametrization in which wide networks learn in all layers, the mean absolute value of each activation, and of
    its update, does not depend on the width ("coordinate check"). All steps are on the first batch of the data. As in
    `diagnose`, nothing is written, and random numbers and the data stay as they were.

    Args:
        make_model: Returns a LightningModule of a width; called after `torch.manual_seed`.
        data: As of `diagnose`.
        widths: Two or more.
        steps: Forward passes that are measured; before each but the first is an update.
        seeds: Networks of each width, over which the scales are averaged.
        accelerator: As of `diagnose`.
        **trainer_arguments: As of `diagnose`.

    Raises:
        ValueError: If an argument makes no sense.

    Source:
        Yang et al., "Tensor Programs V: Tuning Large Neural Networks via Zero-Shot Hyperparameter Transfer" (2022),
        appendix D.1; `get_coord_data` of the package mup, whose numbers are the same.

    Example:
        >>> from callbacks.coordinate_check import CoordinateCheck
        >>> CoordinateCheck((64, 128), ()).verdict
        'ok'
    """
    widths = check_widths(widths)
    check_seeds(seeds)
    runs: dict[int, list[Coordinates]] = {width: [] for width in widths}
    with untouched(data, accelerator != "cpu"):
        for seed in range(seeds):
            batches: list[Any] = []
            for width in widths:
                torch.manual_seed(seed)
                model = make_model(width)
                coordinates = Coordinates()
                run_on_one_batch(
                    model,
                    data,
                    coordinates,
                    batches,
                    steps=steps,
                    accelerator=accelerator,
                    **trainer_arguments,
                )
                runs[width].append(coordinates)
    return CoordinateCheck(widths, rows_of(runs))


def run_on_one_batch(
    model: nn.Module,
    data: Any,
    coordinates: Coordinates,
    batches: list[Any],
    **options: Any,
) -> None:
    """Tries a model with the first batch of the data at every step.

    Args:
        model: LightningModule.
        data: As of `diagnose`.
        coordinates: Observes the trial.
        batches: The batch, once it is drawn.
        **options: As of `run_trial`.
    """

    def prepare(copied: Any, source: Any) -> None:
        owner = copied if data is None else source
        make_loader = getattr(owner, "train_dataloader", None)
        if make_loader is not None:
            owner.train_dataloader = lambda: FixedBatch(make_loader(), batches)

    is_loader = data is not None and not hasattr(data, "train_dataloader")
    source = FixedBatch(data, batches) if is_loader else data
    run_trial(model, source, [coordinates], prepare=prepare, **options)


def rows_of(runs: Mapping[int, Sequence[Coordinates]]) -> tuple[WidthRow, ...]:
    """Returns a row for each layer that all runs have, in the order of the calls.

    Args:
        runs: Observed trials, one a seed, by width.
    """
    widths = tuple(runs)
    all_runs = [run for of_width in runs.values() for run in of_width]
    names = [
        name
        for name in all_runs[0].scales
        if all(name in run.scales for run in all_runs)
    ]
    rows = []
    for name in names:
        scales = {w: [run.scales[name] for run in runs[w]] for w in widths}
        updates = {w: [run.updates.get(name, []) for run in runs[w]] for w in widths}
        rows.append(WidthRow(name, over_widths(scales), over_widths(updates), widths))
    return tuple(rows)


def over_widths(
    numbers: Mapping[int, Sequence[Sequence[float]]],
) -> tuple[tuple[float, ...], ...]:
    """Returns a tuple over widths for each step, of means over seeds.

    Args:
        numbers: A number a step for each seed, by width.

    Example:
        >>> over_widths({64: [[1.0, 2.0], [3.0, 4.0]], 128: [[5.0, 6.0], [5.0, 6.0]]})
        ((2.0, 5.0), (3.0, 6.0))
    """
    curves = []
    for runs in numbers.values():
        steps = zip(*runs, strict=False)
        curves.append([sum(step) / len(step) for step in steps])
    return tuple(zip(*curves, strict=False))


def check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """Returns the widths in ascending order.

    Raises:
        InstrumentError: If they are fewer than two, or no positive whole numbers.
    """
    numbers = sorted(set(widths))
    if len(numbers) < 2 or not all(isinstance(n, int) and n > 0 for n in numbers):
        raise InstrumentError(
            f"widths must be two or more positive whole numbers, such as (64, 128, 256), got {widths!r}"
        )
    return tuple(numbers)


def check_seeds(seeds: int) -> None:
    """Checks the number of seeds.

    Raises:
        InstrumentError: If it is no whole number of 1 or more.
    """
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise InstrumentError(f"seeds must be a whole number, 1 or more, got {seeds!r}")


def cells_of(row: WidthRow) -> tuple[str, ...]:
    """Returns the cells of a layer in the table."""
    last = row.scales[-1]
    return (
        row.layer,
        compact(last[0]),
        compact(last[-1]),
        _slope(row.slope_at_start),
        _slope(row.slope),
        _slope(row.update_slope),
        row.verdict,
    )


def _slope(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"
