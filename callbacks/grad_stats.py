"""GradStats: distribution of the gradients of activations and parameters."""

from typing import Any

from ._instrument import Instrument, Number, check_flag
from ._lightning import LightningModule, Trainer
from .measure.histogram import Histogram
from .measure.statistic import HistogramOf
from .observation.clipping import (
    ALL_GRADIENTS,
    STEP_NORM,
    Clipping,
    ClippingCount,
    clipping_of,
)
from .probe.measurements import Measurements
from .probe.request import Quantity, Request, as_patterns
from .report.number_text import compact
from .report.plots import Curve, DensityPlot, Plot, moment_cells
from .report.record import distribution_record

MEANS = ("activation_grad_mean/", "weight_grad_mean/", "weight_mean/")
"""Tags of the means, which are near zero in healthy and sick networks alike."""


class GradStats(Instrument):
    """Distribution of gradients: the second and third picture of the lecture.

    Healthy: the gradients of all activations are of one size, and `grad_data_ratio` is about the same, around 1e-3,
    for all parameters but the last layer's. Not healthy: gradients that shrink or grow from layer to layer.

    Gradients are those of the whole step: summed over its micro-batches, unscaled, and before clipping. A parameter
    counts when its optimizer steps; of an optimizer that steps more than once in a batch, gradients are those of the
    first time. In manual optimization, activation gradients are those that come by in `manual_backward`, and gradients
    that are clipped by hand before the step are clipped ones.

    `grad_norm/clip_active` counts all due steps of the fit, and goes on in a resumed run: 0 at the end of a training
    means that clipping never worked, which a window over the last steps could not tell. Neither it nor
    `grad_norm/clipped` is written where the two norms cannot be told apart: in manual optimization, with a compiled
    optimizer step, and of a step that a gradient scaler skips. A step with NaN or infinities is not counted.

    Writes, at each due step, for each layer and parameter:
        - `activation_grad/{layer}`: histogram of the gradient of the loss for the layer's output;
        - `weight_grad/{param}`, `weight/{param}`: histograms of the gradient and of the parameter before the update; a
          frozen parameter once;
        - `activation_grad_std/...`, `weight_grad_std/...`, `weight_std/...`: with Bessel's correction;
        - `activation_grad_mean/...`, `weight_grad_mean/...`, `weight_mean/...`: only with `means=True`;
        - `grad_data_ratio/{param}`: std(gradient) / std(parameter), before the update;
        - `grad_norm/total`: L2 norm of the gradients of all parameters, also those not chosen;
        - `grad_norm/clipped`: L2 norm of the gradients that the optimizer takes, after `configure_gradient_clipping`,
          unscaled; equal to `grad_norm/total` where nothing was clipped;
        - `grad_norm/clip_active`: fraction of the due steps up to now on which clipping lowered the norm by more than a
          millionth, 0 to 1;
        - `nonfinite/{layer or param}`: number of NaN and Inf, from the first time that there are any; the other numbers
          are those of the finite values;
        - `activation_grad_distribution`, `weight_grad_distribution`: pictures, one density curve a layer or parameter.

    Args:
        every_n_steps: A step is due when it is a multiple of this, in training steps.
        dense_start: Whether steps 1, 2, 4, 8, ... below `every_n_steps` are due as well.
        layers: Shell-style patterns for a layer's name or class name; None = the activation modules and functions
            (at most 64 modules, evenly spread over depth) and, in a model without any, leaf modules with parameters.
        params: Shell-style patterns for a parameter's name; None = those with two and more axes (at most 64, evenly
            spread over depth).
        figures: Whether to draw the pictures: at steps 0, 1, 2, 4, ever more rarely, and the last; at most 10.
        means: Whether loggers get the means of gradients and parameters; `latest` and `history` have them anyway.

    Attributes:
        latest: Numbers and histograms (`Histogram`) of the last due step by tag; None before the first.
        latest_step: That step.
        history: Numbers of all due steps by tag, each with `steps` and `values`.

    Raises:
        ValueError: If an argument makes no sense, at once; if a pattern matches nothing, at the start of fit.

    Source:
        Andrej Karpathy, "Building makemore Part 3: Activations & Gradients, BatchNorm" (2022); Glorot and Bengio,
        "Understanding the difficulty of training deep feedforward neural networks" (2010), figure 7.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> gradients = GradStats(layers=["layer"])
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> trainer = Trainer(callbacks=[gradients], max_steps=2, enable_checkpointing=False, **quiet)
        >>> trainer.fit(BoringModel())
        >>> sorted(tag for tag in gradients.latest if "activation" not in tag)  # doctest: +NORMALIZE_WHITESPACE
        ['grad_data_ratio/layer.weight', 'grad_norm/clip_active', 'grad_norm/clipped', 'grad_norm/total',
         'weight/layer.weight', 'weight_grad/layer.weight', 'weight_grad_mean/layer.weight',
         'weight_grad_std/layer.weight', 'weight_mean/layer.weight', 'weight_std/layer.weight']
    """

    def __init__(
        self,
        every_n_steps: int = 100,
        dense_start: bool = True,
        layers: list[str] | None = None,
        params: list[str] | None = None,
        figures: bool = True,
        means: bool = False,
    ) -> None:
        super().__init__(every_n_steps, dense_start, layers, params, figures)
        self.means = check_flag("means", means)
        self._activation_grads = Request(
            Quantity.ACTIVATION_GRAD, HistogramOf(), as_patterns(layers)
        )
        self._weights = Request(Quantity.WEIGHT, HistogramOf(), as_patterns(params))
        self._weight_grads = Request(
            Quantity.WEIGHT_GRAD, HistogramOf(), as_patterns(params)
        )
        self._clipped = ClippingCount()

    @property
    def requests(self) -> list[Request]:
        return [
            self._activation_grads,
            self._weights,
            self._weight_grads,
            ALL_GRADIENTS,
            STEP_NORM,
        ]

    def record(self, measurements: Measurements) -> dict[str, Number]:
        weights, gradients = (
            measurements.of(self._weights),
            measurements.of(self._weight_grads),
        )
        plots = {
            "weight": weights,
            "activation_grad": measurements.of(self._activation_grads),
            "weight_grad": gradients,
        }
        record: dict[str, Number] = {}
        for plot, histograms in plots.items():
            for name, histogram in histograms.items():
                record |= distribution_record(plot, name, histogram)
        for name, gradient in gradients.items():
            ratio = grad_data_ratio(gradient, weights.get(name))
            if ratio is not None:
                record[f"grad_data_ratio/{name}"] = ratio
        return record | self._norms(measurements.step, clipping_of(measurements))

    def logged(self, record: dict[str, Number]) -> dict[str, Number]:
        if self.means:
            return record
        return {
            tag: value for tag, value in record.items() if not tag.startswith(MEANS)
        }

    def plots(self, measurements: Measurements) -> dict[str, Plot]:
        weights = measurements.of(self._weights)
        layers = [
            Curve(name, moment_cells(histogram), histogram)
            for name, histogram in measurements.of(self._activation_grads).items()
        ]
        params = [
            Curve(name, ratio_cell(histogram, weights.get(name)), histogram)
            for name, histogram in measurements.of(self._weight_grads).items()
        ]
        plots: dict[str, Plot] = {}
        for kind, of, curves in (
            ("activation_grad", "activations", layers),
            ("weight_grad", "parameters", params),
        ):
            if any(curve.histogram.moments.count for curve in curves):
                title = f"gradients of {of} at step {measurements.step}"
                plot = DensityPlot(title, "gradient", curves)
                plots[f"{kind}_distribution"] = plot
        return plots

    def what_is_missing(self, measurements: Measurements) -> str | None:
        if measurements.of(ALL_GRADIENTS):
            return None
        missing = (
            "gradient of any parameter"
            if measurements.parameter_steps
            else "optimizer that steps"
        )
        return f"finds no {missing} in step {measurements.step}."

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # Not by `state_dict`: two callbacks with a state and the same arguments are an error.
        checkpoint[self.state_key] = self._clipped._asdict()

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._clipped = ClippingCount(**checkpoint.get(self.state_key, {}))

    def _norms(self, step: int, clipping: Clipping) -> dict[str, Number]:
        """Returns the norms of a step, and counts it."""
        self._clipped = self._clipped.after(step, clipping)
        norms = {
            "grad_norm/total": clipping.before,
            "grad_norm/clipped": clipping.after,
            "grad_norm/clip_active": None
            if clipping.is_active is None
            else self._clipped.fraction,
        }
        return {tag: norm for tag, norm in norms.items() if norm is not None}


def grad_data_ratio(gradient: Histogram, weight: Histogram | None) -> float | None:
    """Returns std(gradient) / std(parameter); None where there is no such ratio."""
    if weight is None or gradient.moments.std is None or not weight.moments.std:
        return None
    return gradient.moments.std / weight.moments.std


def ratio_cell(gradient: Histogram, weight: Histogram | None) -> dict[str, str]:
    """Returns what the lecture's legend says of a parameter: the size of its gradient beside its own."""
    ratio = grad_data_ratio(gradient, weight)
    return {"grad:data": "none" if ratio is None else compact(ratio)}
