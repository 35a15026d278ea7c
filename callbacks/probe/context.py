"""Facts of a fit that its steps share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch.optim import Optimizer

from .gradient_scale import GradientScale
from .names import DisplayNames
from .request import Key
from .structure import Structure


@dataclass
class FitContext:
    """Facts of one fit.

    Attributes:
        rank: Global rank.
        ranks: Number of ranks.
        automatic: Whether Lightning steps the optimizers.
        micro_batches: Micro-batches that Lightning accumulates.
        scale: Scale of the gradients.
        optimizers: Returns the optimizers of the fit.
        names: Display names.
        failed: Measurements that raised, on any rank; they are not tried again.
        measured_once: Frozen parameters that have been measured.
        structure: Structure of the model, once the graph of a loss was read.
        shapes: Shape of the first output of each layer and function that has been measured, by display name.
    """

    rank: int
    ranks: int
    automatic: bool
    micro_batches: int
    scale: GradientScale
    optimizers: Callable[[], Sequence[Optimizer]]
    names: DisplayNames = field(default_factory=DisplayNames)
    failed: set[Key] = field(default_factory=set)
    measured_once: set[str] = field(default_factory=set)
    structure: Structure | None = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
