"""Cases: a model, what is broken about it, and what should be found."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .breaks import Break
from .models import Model
from .split import Part, part_of
from .training import Training

Kind = Literal["healthy", "fault", "mutation"]


@dataclass(frozen=True)
class Case:
    """One training with a known verdict.

    Attributes:
        kind: "healthy", "fault" (a break at a place that is chosen) or "mutation" (at a place drawn at random).
        name: Name of the break, or of the model where healthy.
        model: Model that is trained.
        breaks: Changes to it; empty where healthy.
        rules: Names of the rules that name the cause.
        places: Layers or parameters where it is; "" = the whole model.
        silent: True if the loss falls as before: the harm is elsewhere.
        nan_steps: Steps at which the first NaN or infinity may be reported; empty if there is none.
    """

    kind: Kind
    name: str
    model: Model
    breaks: tuple[Break, ...] = ()
    rules: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()
    silent: bool = False
    nan_steps: frozenset[int] = frozenset()

    @property
    def title(self) -> str:
        """Name of the case with its model."""
        return f"{self.kind}/{self.name}" + f"@{self.model.name}" * bool(self.breaks)

    @property
    def part(self) -> Part:
        """Part that the model is in."""
        return part_of(self.model.name)

    def make(self) -> Training:
        """Builds the training and breaks it."""
        training = self.model.make()
        for change in self.breaks:
            change(training)
        return training


@dataclass(frozen=True)
class Sick:
    """Changes to a model, and the places where they should be found.

    Attributes:
        breaks: Changes.
        places: Names of layers; parameters of a layer count as the layer.
    """

    breaks: list[Break]
    places: Iterable[str]
