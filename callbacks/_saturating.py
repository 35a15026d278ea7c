"""What the instruments that look for saturation share."""

from torch import Tensor, nn

from ._activations import Flat, FlatInput, flat_ends
from ._base import Instrument
from ._errors import InstrumentError
from ._observation import Observation
from ._saturation import SaturationTally
from ._selection import unwrapped


class SaturationInstrument(Instrument):
    """Counts what is saturated, by the output of a layer or, where that does not tell, by what it is given."""

    unit_dim: int | None = None
    _shows = False
    """Whether to keep which values are saturated, for a map."""

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

    def _let_go(self) -> None:
        super()._let_go()
        self._flat: dict[nn.Module, Flat] = {}

    def _judge(self, layers: dict[str, nn.Module]) -> None:
        """Decides where each of these layers counts as saturated."""
        self._flat = {layer: flat_ends(unwrapped(layer), self.threshold) for layer in layers.values()}
        self._given_of = {layer for layer, flat in self._flat.items() if isinstance(flat, FlatInput)}

    def _see(self, now: Observation, name: str, layer: nn.Module, output: Tensor) -> None:
        if layer in self._flat and layer not in self._given_of:
            self._count_saturated(now, name, layer, output)

    def _see_given(self, now: Observation, name: str, layer: nn.Module, given: Tensor) -> None:
        self._count_saturated(now, name, layer, given)

    def _count_saturated(self, now: Observation, name: str, layer: nn.Module, values: Tensor) -> None:
        flat = self._flat[layer]
        now.tally(f"saturation/{name}", lambda: SaturationTally(flat.test, self.unit_dim, self._shows)).add(values)


def check_threshold(threshold: float) -> float:
    """Returns the threshold.

    Raises:
        InstrumentError: If no output of tanh is of that magnitude.
    """
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold < 1:
        raise InstrumentError(f"threshold must be an output of tanh between 0 and 1, such as 0.99, got {threshold!r}")
    return threshold
