"""SaturationMap: saturated values and dead units of each activation."""

from collections.abc import Mapping

from ._instrument import Instrument, Number, check_threshold
from ._messages import InstrumentError
from .measure.saturation import Saturation
from .measure.statistic import SaturationOf
from .probe.measurements import Measurements
from .probe.request import Quantity, Request, Scope, as_patterns
from .report.legend import drop_shared
from .report.number_text import percent
from .report.plots import MapPlot, Plot

MOST_MAPS = 8
"""Maps that are drawn of a step at most: the most saturated layers; of ReLU, those with the most dead units."""


class SaturationMap(Instrument):
    """Saturated values of each activation: those at which it is so flat that nothing is learned through it.

    Healthy: a few per cent of tanh, scattered over the map; about half of ReLU. Not healthy: a white map (most values
    are saturated), or a column that is white throughout, a dead unit, which no example of the batch can teach.

    Writes, at each due step, for each layer:
        - `saturation/{layer}`: fraction, in [0, 1], of the finite values that are saturated;
        - `dead_units/{layer}`: fraction of the units that are saturated on every example of the step; units of calls
          at several widths are different units;
        - `nonfinite/{layer}`: number of NaN and Inf, from the first time that there are any;
        - `saturation_map/{layer}`: picture of the 8 most saturated layers (of ReLU and its like, of those with the most
          dead units), examples down and units across, of the first 128 examples and 512 units. White = saturated,
          orange = dead. Of a convolution or a sequence, the place (pixel, position) in the center is shown; numbers
          are of all places.

    Saturated means: of tanh, `|h| > threshold`; of another activation, an output at which its slope is below tanh's
    there, `1 - threshold**2`: sigmoid's flat ends, the zeros of ReLU, both ends of ReLU6 and Hardtanh, the far
    negative end of ELU, GELU and SiLU. LeakyReLU, PReLU and RReLU never are, and are left out. A module that is no
    activation, chosen by name, is judged like tanh. An activation that is a function (`F.relu(x)`) is observed like a
    module, under the name of the module that calls it: `block.relu`.

    Args:
        every_n_steps: A step is due when it is a multiple of this, in training steps.
        dense_start: Whether steps 1, 2, 4, 8, ... below `every_n_steps` are due as well.
        layers: Shell-style patterns for a layer's name or class name; None = the activation modules (at most 64, evenly
            spread over depth) and functions. A model without any has no map, and one warning says so.
        params: Has no use here; giving it says so.
        figures: Whether to draw the maps: at steps 0, 1, 2, 4, ever more rarely, and the last; at most 10.
        threshold: Output of tanh, in (0, 1), beyond which it counts as saturated.
        unit_dim: Axis of the units; None = the last of an output of up to three axes, axis 1 of four and more.

    Attributes:
        latest: Numbers of the last due step by tag; None before the first.
        latest_step: That step.
        history: Numbers of all due steps by tag, each with `steps` and `values`.

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

    unused_argument = "params"

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
        super().__init__(every_n_steps, dense_start, layers, params, figures)
        if unit_dim is not None and (
            isinstance(unit_dim, bool) or not isinstance(unit_dim, int)
        ):
            raise InstrumentError(
                f"unit_dim must be None or the number of an axis, such as -1, got {unit_dim!r}"
            )
        self.threshold, self.unit_dim = check_threshold(threshold), unit_dim
        scope = Scope.ACTIVATIONS if layers is None else Scope.DEFAULT
        statistic = SaturationOf(threshold, unit_dim, keep_map=figures)
        self._saturation = Request(
            Quantity.ACTIVATION, statistic, as_patterns(layers), scope
        )

    @property
    def requests(self) -> list[Request]:
        return [self._saturation]

    def record(self, measurements: Measurements) -> dict[str, Number]:
        record: dict[str, Number] = {}
        for name, saturation in measurements.of(self._saturation).items():
            if saturation.fraction is not None:
                record[f"saturation/{name}"] = saturation.fraction
            if saturation.dead_units is not None:
                record[f"dead_units/{name}"] = saturation.dead_units
        return record

    def plots(self, measurements: Measurements) -> dict[str, Plot]:
        saturations = measurements.of(self._saturation)
        short = dict(zip(saturations, drop_shared(list(saturations)), strict=True))
        plots: dict[str, Plot] = {}
        for name, saturation in worst_layers(saturations):
            title = map_title(short[name], measurements.step, saturation)
            if saturation.map is not None:
                dead = next(iter(saturation.dead.values()))
                plots[f"saturation_map/{name}"] = MapPlot(
                    title, saturation.map, dead, saturation.places
                )
        return plots

    def what_is_missing(self, measurements: Measurements) -> str | None:
        return measurements.why_no_layers(self._saturation)


def worst_layers(
    saturations: Mapping[str, Saturation],
) -> list[tuple[str, Saturation]]:
    """Returns the layers whose maps are drawn: by dead units where half of the values are normally zero, as of ReLU."""

    def badness(item: tuple[str, Saturation]) -> tuple[float, float]:
        saturation = item[1]
        fraction = saturation.fraction or 0.0
        if saturation.off is None:
            return fraction, fraction
        return saturation.dead_units or 0.0, fraction

    drawable = [
        (name, saturation)
        for name, saturation in saturations.items()
        if saturation.map is not None and saturation.count
    ]
    return sorted(drawable, key=badness, reverse=True)[:MOST_MAPS]


def map_title(name: str, step: int, saturation: Saturation) -> str:
    """Returns the title of a map: the saturated fraction and the dead units."""
    fraction = percent(saturation.fraction or 0.0)
    white = "saturated (white)"
    if saturation.off is not None:
        white = f"{saturation.off} (white; half is normal)"
    dead = f"{saturation.dead_count} of {saturation.units} units dead"
    orange = " (orange)" if saturation.dead_count else ""
    return f"{name} at step {step}\n{fraction} {white}, {dead}{orange}"
