"""How the activations of each layer are spread."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor, nn

from ._activations import is_activation
from ._histogram import Histogram
from ._observation import Observation
from ._records import name_in, spread_record
from ._saturating import SaturationInstrument
from ._saturation import Saturation
from ._selection import choose_layers, unwrapped
from ._sketches import Curve, Sketch, sketch_densities
from ._tally import HistogramTally


class ActivationHistogram(SaturationInstrument):
    """Shows how the outputs of each layer are spread: the first picture of the lecture.

    Healthy: the curves of all layers lie over each other, and few values are at the ends. Not healthy: curves that
    narrow to a spike at 0 from layer to layer (the signal dies out), or pile up at -1 and 1 (tanh is saturated).

    Writes, at each due step, for each layer:
        - `activation/{layer}`: histogram of all outputs of the step's batches and calls, NaN and Inf left out;
        - `activation_mean/{layer}`, `activation_std/{layer}`: over all those elements, std with Bessel's correction;
        - `nonfinite/{layer}`: how many were NaN or Inf, from the first time on that there are any;
        - `activation_distribution`: picture, one density curve a layer, with mean, std and saturated share.

    Args:
        every_n_steps: A step is due when it is a multiple of this, in training steps.
        dense_start: Whether steps 1, 2, 4, 8, ... below `every_n_steps` are due as well.
        layers: Shell-style patterns for a layer's name or class name; None = the activation modules and, in a model
            that has none, every leaf module with parameters.
        params: Not used here; taken so that all instruments can be given the same arguments.
        figures: Whether to draw the picture: at `every_n_steps` times 0, 1, 4, 16, ..., each 500, and at the end.
        threshold: The output of tanh, in (0, 1), beyond which the legend counts it as saturated; of other activations
            where they are as flat as tanh is there.

    Attributes:
        latest: By tag, the numbers and `Histogram`s of the last due step; None before the first.
        latest_step: That step.

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

    def _choose(self, trainer: Trainer, root: nn.Module) -> bool:
        self._layers = self._in_sight(root, choose_layers(root, self.layers))
        # Of a layer that is no activation, the legend says nothing of saturation.
        self._judge(
            {name: layer for name, layer in self._layers.items() if self.figures and is_activation(unwrapped(layer))}
        )
        return bool(self._layers)

    def _see(self, now: Observation, name: str, layer: nn.Module, output: Tensor) -> None:
        now.tally(f"activation/{name}", HistogramTally).add(output)
        super()._see(now, name, layer, output)

    def _report(self, values: Mapping[str, Any], now: Observation) -> dict[str, float | Histogram]:
        return spread_record(values)

    def _pictures(self, values: Mapping[str, Any], step: int) -> dict[str, Callable[[], Sketch]]:
        curves = []
        for tag, value in values.items():
            if isinstance(value, Histogram) and value.moments.count:
                name = name_in(tag)
                curves.append(Curve(name, remark(value, values.get(f"saturation/{name}")), value))
        title = f"activations at step {step}"
        return {"activation_distribution": partial(sketch_densities, title, "activation", curves)}


def remark(histogram: Histogram, saturation: Saturation | None) -> str:
    """Says of a layer what the lecture's legend does: mean, std, saturated share."""
    said = f"mean {histogram.moments.mean:+.2f}, std {histogram.moments.std or 0:.2f}"
    return said if saturation is None or saturation.share is None else f"{said}, saturated {saturation.share:.1%}"
