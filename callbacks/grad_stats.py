"""GradStats: distribution of the gradients of activations and parameters."""

import math

from ._instrument import Instrument, Number, check_flag
from .measure.histogram import Histogram
from .measure.statistic import HistogramOf, MomentsOf
from .probe.measurements import Measurements
from .probe.request import Quantity, Request, Scope, as_patterns
from .report.plots import Curve, DensityPlot, Plot, compact, moment_cells
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

    Writes, at each due step, for each layer and parameter:
        - `activation_grad/{layer}`: histogram of the gradient of the loss for the layer's output;
        - `weight_grad/{param}`, `weight/{param}`: histograms of the gradient and of the parameter before the update; a
          frozen parameter once;
        - `activation_grad_std/...`, `weight_grad_std/...`, `weight_std/...`: with Bessel's correction;
        - `activation_grad_mean/...`, `weight_grad_mean/...`, `weight_mean/...`: only with `means=True`;
        - `grad_data_ratio/{param}`: std(gradient) / std(parameter), before the update;
        - `grad_norm/total`: L2 norm of the gradients of all parameters, also those not chosen;
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
        ['grad_data_ratio/layer.weight', 'grad_norm/total', 'weight/layer.weight', 'weight_grad/layer.weight',
         'weight_grad_mean/layer.weight', 'weight_grad_std/layer.weight', 'weight_mean/layer.weight',
         'weight_std/layer.weight']
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
        self._all_grads = Request(Quantity.WEIGHT_GRAD, MomentsOf(), scope=Scope.ALL)

    @property
    def requests(self) -> list[Request]:
        return [
            self._activation_grads,
            self._weights,
            self._weight_grads,
            self._all_grads,
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
        norm = self._total_norm(measurements)
        return record if norm is None else record | {"grad_norm/total": norm}

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
        if measurements.of(self._all_grads):
            return None
        missing = (
            "gradient of any parameter"
            if measurements.parameter_steps
            else "optimizer that steps"
        )
        return f"finds no {missing} in step {measurements.step}."

    def _total_norm(self, measurements: Measurements) -> float | None:
        """Returns the L2 norm of all gradients; None if none of them has a finite value."""
        moments = measurements.of(self._all_grads).values()
        norms = [each.norm for each in moments if each.count]
        return math.hypot(*norms) if norms and all(map(math.isfinite, norms)) else None


def grad_data_ratio(gradient: Histogram, weight: Histogram | None) -> float | None:
    """Returns std(gradient) / std(parameter); None where there is no such ratio."""
    if weight is None or gradient.moments.std is None or not weight.moments.std:
        return None
    return gradient.moments.std / weight.moments.std


def ratio_cell(gradient: Histogram, weight: Histogram | None) -> dict[str, str]:
    """Returns what the lecture's legend says of a parameter: the size of its gradient beside its own."""
    ratio = grad_data_ratio(gradient, weight)
    return {"grad:data": "none" if ratio is None else compact(ratio)}
