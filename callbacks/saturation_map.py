"""Which values of each activation are saturated, and which of its units are dead."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lightning.pytorch import Trainer
from torch import nn

from ._activations import is_activation
from ._errors import InstrumentError
from ._histogram import Histogram
from ._observation import Observation
from ._records import name_in
from ._saturating import SaturationInstrument
from ._saturation import Saturation
from ._selection import choose_layers, unwrapped
from ._sketches import Sketch, sketch_saturation


class SaturationMap(SaturationInstrument):
    """Shows which values are saturated, where an activation is so flat that nothing is learned through it.

    Healthy: a few per cent, scattered over the map. Not healthy: a white map (most values are saturated), or a column
    that is white throughout, a dead unit, which no example of the batch can teach.

    Writes, at each due step, for each layer:
        - `saturation/{layer}`: share, in [0, 1], of the finite values that are saturated;
        - `dead_units/{layer}`: share of the units that are saturated on every example of the step;
        - `nonfinite/{layer}`: how many values were NaN or Inf, from the first time on that there are any;
        - `saturation_map/{layer}`: picture, examples down and units across, white = saturated; the first 128 examples
          and 512 units.

    Saturated means: of tanh, `|h| > threshold`; of another activation, an output at which its slope is below tanh's
    there, `1 - threshold**2`: sigmoid's flat ends, the zeros of ReLU, both ends of ReLU6 and Hardtanh, the far
    negative end of ELU, GELU and SiLU; LeakyReLU never. A module that is no activation, chosen by name, is judged like
    tanh. The batch of a unit is what has its index on the unit axis: in a sequence or an image, every place of every
    example.

    Args:
        every_n_steps: A step is due when it is a multiple of this, in training steps.
        dense_start: Whether steps 1, 2, 4, 8, ... below `every_n_steps` are due as well.
        layers: Shell-style patterns for a layer's name or class name; None = the activation modules. A model without
            any has no map, and one warning says so.
        params: Not used here; taken so that all instruments can be given the same arguments.
        figures: Whether to draw the maps: at `every_n_steps` times 0, 1, 4, 16, ..., each 500, and at the end.
        threshold: The output of tanh, in (0, 1), beyond which it counts as saturated.
        unit_dim: The axis of the units; None = the last of an output of up to three axes, axis 1 of four and more.

    Attributes:
        latest: By tag, the numbers of the last due step; None before the first.
        latest_step: That step.

    Raises:
        ValueError: If an argument makes no sense, at once; if a pattern matches nothing, at the start of fit.

    Source:
        Andrej Karpathy, "Building makemore Part 3: Activations & Gradients, BatchNorm" (2022): `h.abs() > 0.99` as a
        picture.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> saturation = SaturationMap(layers=["layer"])
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> trainer = Trainer(callbacks=[saturation], max_steps=2, enable_checkpointing=False, **quiet)
        >>> trainer.fit(BoringModel())
        >>> sorted(saturation.latest)
        ['dead_units/layer', 'saturation/layer']
    """

    def __init__(
        self,
        every_n_steps: int = 100,
        dense_start: bool = True,
        layers: list[str] | None = None,
        params: list[str] | None = None,
        figures: bool = True,
        threshold: float = 0.99,
        unit_dim: int | None = None,
    ) -> None:
        super().__init__(every_n_steps, dense_start, layers, params, figures, threshold)
        if unit_dim is not None and (isinstance(unit_dim, bool) or not isinstance(unit_dim, int)):
            raise InstrumentError(f"unit_dim must be None or the number of an axis, such as -1, got {unit_dim!r}")
        self.unit_dim = unit_dim

    def _choose(self, trainer: Trainer, root: nn.Module) -> bool:
        chosen = choose_layers(root, self.layers)
        if self.layers is None:
            chosen = {name: layer for name, layer in chosen.items() if is_activation(unwrapped(layer))}
        self._layers = self._in_sight(root, chosen)
        self._judge(self._layers)
        self._shows = self.figures
        return bool(self._layers)

    def _report(self, values: Mapping[str, Saturation], now: Observation) -> dict[str, float | Histogram]:
        record: dict[str, float | Histogram] = {}
        for tag, saturation in values.items():
            if saturation.share is not None:
                record[tag] = saturation.share
            if saturation.dead_units is not None:
                record[f"dead_units/{name_in(tag)}"] = saturation.dead_units
        return record

    def _pictures(self, values: Mapping[str, Any], step: int) -> dict[str, Callable[[], Sketch]]:
        return {
            f"saturation_map/{name}": partial(sketch_saturation, title(name, step, saturation), saturation)
            for name, saturation in ((name_in(tag), saturation) for tag, saturation in values.items())
            if saturation.shown is not None and saturation.count
        }


def title(name: str, step: int, saturation: Saturation) -> str:
    """Says of a map what it shows."""
    said = f"{name} at step {step}: {saturation.share or 0:.1%} saturated (white)"
    if saturation.always is None:
        return said
    return f"{said}, {int(saturation.always.sum())} of {len(saturation.always)} units dead"
