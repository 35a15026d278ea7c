"""ActivationHistogram: distribution of the activations of each layer."""

from ._instrument import Instrument, Number, check_threshold
from .measure.saturation import Saturation
from .measure.statistic import HistogramOf, SaturationOf
from .probe.measurements import Measurements
from .probe.request import Quantity, Request, Scope, as_patterns
from .report.number_text import percent
from .report.plots import Curve, DensityPlot, Plot, moment_cells
from .report.record import distribution_record


class ActivationHistogram(Instrument):
    """Distribution of the outputs of each layer: the first picture of the lecture.

    Healthy: the curves of all layers lie over each other, and few values are at the ends. Not healthy: curves that
    narrow to a spike at 0 from layer to layer (the signal dies out), or pile up at -1 and 1 (tanh is saturated).

    Writes, at each due step, for each layer:
        - `activation/{layer}`: histogram of all outputs of the step's batches and calls, NaN and Inf left out;
        - `activation_mean/{layer}`, `activation_std/{layer}`: over all those elements, std with Bessel's correction;
        - `nonfinite/{layer}`: number of NaN and Inf, from the first time that there are any;
        - `activation_distribution`: picture, one density curve a layer, with mean, std and saturated fraction (ReLU:
          zeros).

    An activation that is a function (`F.gelu(x)`, `torch.tanh(x)`, `x.sigmoid()`) is observed like a module, under the
    name of the module that calls it: `h.0.mlp.gelu`, a second call of a kind `h.0.mlp.gelu_1`.

    Args:
        every_n_steps: A step is due when it is a multiple of this, in training steps.
        dense_start: Whether steps 1, 2, 4, 8, ... below `every_n_steps` are due as well.
        layers: Shell-style patterns for a layer's name or class name; None = the activation modules and functions
            (at most 64 modules, evenly spread over depth) and, in a model without any, leaf modules with parameters.
        params: Has no use here; giving it says so.
        figures: Whether to draw the picture: at steps 0, 1, 2, 4, ever more rarely, and the last; at most 10.
        threshold: Output of tanh, in (0, 1), beyond which the legend counts it as saturated; of other activations
            where they are as flat as tanh is there.

    Attributes:
        latest: Numbers and histograms (`Histogram`) of the last due step by tag; None before the first.
        latest_step: That step.
        history: Numbers of all due steps by tag, each with `steps` and `values`.

    Raises:
        ValueError: If an argument makes no sense, at once; if a pattern matches nothing, at the start of fit.

    Source:
        Andrej Karpathy, "Building makemore Part 3: Activations & Gradients, BatchNorm" (2022); Glorot and Bengio,
        "Understanding the difficulty of training deep feedforward neural networks" (2010), figure 2.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> activations = ActivationHistogram(layers=["layer"])
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> trainer = Trainer(callbacks=[activations], max_steps=2, enable_checkpointing=False, **quiet)
        >>> trainer.fit(BoringModel())
        >>> activations.latest_step, sorted(activations.latest)
        (1, ['activation/layer', 'activation_mean/layer', 'activation_std/layer'])
    """

    unused_argument = "params"

    def __init__(
        self,
        every_n_steps: int = 100,
        dense_start: bool = True,
        layers: list[str] | None = None,
        params: list[str] | None = None,
        figures: bool = True,
        threshold: float = 0.99,
    ) -> None:
        super().__init__(every_n_steps, dense_start, layers, params, figures)
        self.threshold = check_threshold(threshold)
        patterns = as_patterns(layers)
        self._activations = Request(Quantity.ACTIVATION, HistogramOf(), patterns)
        # Of a layer that is no activation, the legend says nothing of saturation.
        self._saturation = Request(
            Quantity.ACTIVATION, SaturationOf(threshold), patterns, Scope.ACTIVATIONS
        )

    @property
    def requests(self) -> list[Request]:
        return (
            [self._activations, self._saturation]
            if self.figures
            else [self._activations]
        )

    def record(self, measurements: Measurements) -> dict[str, Number]:
        record: dict[str, Number] = {}
        for name, histogram in measurements.of(self._activations).items():
            record |= distribution_record("activation", name, histogram)
        return record

    def plots(self, measurements: Measurements) -> dict[str, Plot]:
        saturations = measurements.of(self._saturation)
        curves = []
        for name, histogram in measurements.of(self._activations).items():
            cells = moment_cells(histogram) | saturation_cell(saturations.get(name))
            curves.append(Curve(name, cells, histogram))
        if not any(curve.histogram.moments.count for curve in curves):
            return {}
        title = f"activations at step {measurements.step}"
        return {"activation_distribution": DensityPlot(title, "activation", curves)}

    def what_is_missing(self, measurements: Measurements) -> str | None:
        return measurements.why_no_layers(self._activations)


def saturation_cell(saturation: Saturation | None) -> dict[str, str]:
    """Returns the saturated fraction of a layer as it stands in a legend; of ReLU, it is that of zeros."""
    if saturation is None or saturation.fraction is None:
        return {}
    header = "zeros" if saturation.off == "zeros" else "sat"
    return {header: percent(saturation.fraction)}
