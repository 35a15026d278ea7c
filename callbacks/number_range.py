"""NumberRange: values that narrower floating point formats would lose, and whether tensors fit into 8 bits."""

from collections.abc import Sequence

from ._instrument import Instrument, Number
from ._lightning import LightningModule, Trainer
from ._messages import InstrumentError
from .measure.casts import Casts
from .measure.formats import FORMATS
from .measure.statistic import CastsOf
from .probe.measurements import Measurements
from .probe.request import Quantity, Request, as_patterns
from .ranges.range_row import RangeRow
from .ranges.range_table import RangeTable
from .report.event_points import select_pictures
from .report.plots import Plot
from .report.range_plot import RangePlot

PAGE = "number_range"
"""Tag of the text page, and beginning of those of the pictures."""

NAMES = {
    "activation": "activations",
    "activation_grad": "gradients of activations",
    "weight": "parameters",
}
"""Words for the tensors that have a picture: those that the products of a layer read."""


class NumberRange(Instrument):
    """Range of the numbers of a training: would they fit into fp16, bf16, fp8 e4m3 or fp8 e5m2, and with which scale?

    Each activation, parameter, gradient and update is compared with the limits of the formats, in whatever type it is
    now. The counts are those of a cast by PyTorch, to the last value; they come with the histogram that the other
    instruments measure, so that nothing is measured twice. The cast is to nearest, float64 by way of float32.

    Healthy: nothing too large, and few values lost. Not healthy: gradients that become zero (a loss scale is too small,
    or missing), activations beyond the largest number (65504 of fp16, 448 of e4m3, 57344 of e5m2).

    `{tensor}` is `activation/{layer}`, `activation_grad/{layer}`, `weight/{param}`, `weight_grad/{param}` or
    `update/{param}`. Numbers are fractions, in [0, 1], of the finite values; zeros count as values. Gradients are
    unscaled and before clipping, as those of `GradStats`; updates are those of `UpdateRatio`.

    Writes, at each due step, for each format and tensor:
        - `{format}_underflow/{tensor}`: values that are not zero and would become zero;
        - `{format}_subnormal/{tensor}`: values that would be subnormal, with fewer digits than others;
        - `{format}_overflow/{tensor}`: values beyond the largest number, which become infinite; in e4m3, which has no
          infinity, NaN or the largest number, as the version of PyTorch will have it;
        - `{format}_zero/{tensor}`: values that would be zero, zeros among them; not to loggers;
        - `nonfinite/{layer or param}`: number of NaN and Inf, from the first time that there are any;
        - `number_range`: text page of TensorBoard, the `table`;
        - `number_range/activation`, `number_range/activation_grad`, `number_range/weight`: pictures, one row a layer or
          parameter with its magnitudes by octave, below the ranges of the formats.

    Loggers get a number from the first time that it is not zero, which most numbers never are; `latest` and `history`
    have all of them. A frozen parameter is measured once, and has no update unless it moves.

    Args:
        every_n_steps: A step is due when it is a multiple of this, in training steps.
        dense_start: Whether steps 1, 2, 4, 8, ... below `every_n_steps` are due as well.
        layers: Shell-style patterns for a layer's name or class name; None = the activation modules and functions
            (at most 64 modules, evenly spread over depth) and, in a model without any, leaf modules with parameters.
        params: Shell-style patterns for a parameter's name; None = those with two and more axes (at most 64, evenly
            spread over depth).
        figures: Whether to write the text page and the pictures: at steps 0, 1, 2, 4, ever more rarely, and the last;
            at most 10.
        formats: Formats of the numbers and of the table's columns, of "fp16", "bf16", "e4m3" and "e5m2"; None = all.

    Attributes:
        table: `RangeTable` of the last due step: `rows`, `to_markdown()`, `to_json()`; None before the first.
        latest: Numbers of the last due step by tag; None before the first.
        latest_step: That step.
        history: Numbers of all due steps by tag, each with `steps` and `values`.

    Raises:
        ValueError: If an argument makes no sense, at once; if a pattern matches nothing, at the start of fit.

    Source:
        Micikevicius et al., "Mixed Precision Training" (2018), figure 3, and "FP8 Formats for Deep Learning" (2022).

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> ranges = NumberRange(layers=["layer"], formats=["e4m3"])
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> trainer = Trainer(callbacks=[ranges], max_steps=2, enable_checkpointing=False, **quiet)
        >>> trainer.fit(BoringModel())
        >>> ranges.latest["e4m3_overflow/weight/layer.weight"]
        0.0
        >>> ranges.table.row("weight", "layer.weight").fp8
        'e4m3'
    """

    def __init__(
        self,
        every_n_steps: int = 100,
        dense_start: bool = True,
        layers: list[str] | None = None,
        params: list[str] | None = None,
        figures: bool = True,
        formats: list[str] | None = None,
    ) -> None:
        super().__init__(every_n_steps, dense_start, layers, params, figures)
        self.formats = check_formats(formats)
        quantities = {
            "activation": (Quantity.ACTIVATION, layers),
            "activation_grad": (Quantity.ACTIVATION_GRAD, layers),
            "weight": (Quantity.WEIGHT, params),
            "weight_grad": (Quantity.WEIGHT_GRAD, params),
            "update": (Quantity.UPDATE, params),
        }
        self._requests = {
            tensor: Request(quantity, CastsOf(), as_patterns(patterns))
            for tensor, (quantity, patterns) in quantities.items()
        }
        self._table = RangeTable(self._columns)

    @property
    def table(self) -> RangeTable | None:
        """Ranges of all tensors at the last due step; None before the first."""
        return None if self.latest_step is None else self._table

    @property
    def requests(self) -> list[Request]:
        return list(self._requests.values())

    def record(self, measurements: Measurements) -> dict[str, Number]:
        rows = self._measured_rows(measurements)
        rows_of_all = [*self._frozen_rows(rows), *rows]
        order = list(self._requests)
        rows_of_all.sort(key=lambda row: order.index(row.tensor))
        self._table = RangeTable(self._columns, tuple(rows_of_all))
        self._unwritten = measurements.step
        if self._pages.takes(PAGE, measurements.step):
            self._write_page()
        record: dict[str, Number] = {}
        for row in rows:
            for name in self._columns if row.count else ():
                for kind, fraction in row.fractions(name).items():
                    record[f"{name}_{kind}/{row.tensor}/{row.name}"] = fraction
        return record

    def logged(self, record: dict[str, Number]) -> dict[str, Number]:
        self._with_values |= {tag for tag, number in record.items() if number}
        return {
            tag: number
            for tag, number in record.items()
            if tag in self._with_values and not tag.split("/")[0].endswith("_zero")
        }

    def plots(self, measurements: Measurements) -> dict[str, Plot]:
        plots: dict[str, Plot] = {}
        for tensor, words in NAMES.items():
            histograms = {
                name: casts.histogram
                for name, casts in measurements.of(self._requests[tensor]).items()
                if casts.moments.magnitude
            }
            if histograms:
                title = (
                    f"{words} at step {measurements.step}\n"
                    "gray: what a format holds, thin: its subnormal numbers"
                )
                plot = RangePlot(title, self._columns, histograms)
                plots[f"{PAGE}/{tensor}"] = plot
        return plots

    def what_is_missing(self, measurements: Measurements) -> str | None:
        if any(measurements.of(request) for request in self.requests):
            return None
        return f"has nothing to measure in step {measurements.step}: choose layers and parameters by name."

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write_page()

    def _reset(self) -> None:
        super()._reset()
        self._pages = select_pictures()
        self._unwritten: int | None = None
        self._with_values: set[str] = set()

    @property
    def _columns(self) -> tuple[str, ...]:
        return tuple(FORMATS if self.formats is None else self.formats)

    def _measured_rows(self, measurements: Measurements) -> list[RangeRow]:
        rows: list[RangeRow] = []
        for tensor, request in self._requests.items():
            casts: dict[str, Casts] = measurements.of(request)
            rows += [
                RangeRow(tensor, name, measurements.step, each)
                for name, each in casts.items()
            ]
        params = measurements.plan.model.params
        return [
            row
            for row in rows
            if row.tensor != "update" or row.largest or params[row.name].requires_grad
        ]

    def _frozen_rows(self, rows: Sequence[RangeRow]) -> list[RangeRow]:
        """Returns the rows of earlier steps of parameters that are measured once."""
        if self.latest_step is None:
            return []
        measured = {row.name for row in rows if row.tensor == "weight"}
        return [
            row
            for row in self._table.rows
            if row.tensor == "weight" and row.name not in measured
        ]

    def _write_page(self) -> None:
        """Writes the text page, once a step."""
        if self.figures and self._fit is not None and self._unwritten is not None:
            self._fit.write_text(PAGE, self._table.to_markdown(), self._unwritten)
        self._unwritten = None


def check_formats(formats: list[str] | None) -> list[str] | None:
    """Returns the names of the formats.

    Raises:
        InstrumentError: If it is no list of them; lists the formats.
    """
    if formats is None:
        return None
    is_list = isinstance(formats, list | tuple) and formats
    # Not `in FORMATS` itself, which raises of a list in the list.
    if not is_list or not all(each in list(FORMATS) for each in formats):
        raise InstrumentError(
            f"formats must be None or a list of some of {', '.join(FORMATS)}, got {formats!r}"
        )
    return list(dict.fromkeys(formats))
