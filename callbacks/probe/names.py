"""Display names: one name for one thing, whatever layers, outputs and functions are called."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from .selection import encodable


@dataclass(frozen=True)
class Origin:
    """Layer, tensor or function that a display name stands for.

    Attributes:
        layer: Name of the layer, or of the module that calls an activation function.
        member: Path of a tensor within the layer's output, such as ".0"; or the function's name and number.
        kind: `torch.nn` class name of an activation function; empty for a layer.
    """

    layer: str
    member: str = ""
    kind: str = ""


class DisplayNames:
    """Names of layers, of the tensors in their outputs, and of activation functions, each unique in a fit."""

    def __init__(self) -> None:
        self.origins: dict[str, Origin] = {}
        self._names: dict[Hashable, str] = {}
        self._layers: set[str] = set()

    def reserve(self, layers: Iterable[str]) -> None:
        """Keeps the names of layers for themselves."""
        self._layers |= set(layers)

    def of_output(self, layer: str, path: str) -> str:
        """Returns the name of a tensor in a layer's output: `lstm.0`, or `lstm[0]` where a child has that name."""
        return self._unique(Origin(layer, path), layer + path, f"{layer}[{path[1:]}]")

    def of_function(self, caller: str, function: str, number: int, kind: str) -> str:
        """Returns the name of the n-th call of a function by a module: `mlp.gelu`, `mlp.gelu_1`, ..."""
        member = f"{function}_{number}" if number else function
        dotted = f"{caller}.{member}" if caller else member
        return self._unique(Origin(caller, member, kind), dotted, f"{caller}[{member}]")

    def _unique(self, origin: Origin, name: str, alternative: str) -> str:
        if origin in self._names:
            return self._names[origin]
        is_layer = not (origin.member or origin.kind)
        name, alternative = encodable(name), encodable(alternative)
        while name in self.origins or (name in self._layers and not is_layer):
            name, alternative = alternative, f"{alternative}'"
        self._names[origin] = name
        self.origins[name] = origin
        return name
