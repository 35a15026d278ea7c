"""HealthRequests: measurements that the rules of HealthCheck need."""

from dataclasses import dataclass, field
from functools import partial

from ..measure.statistic import MomentsOf, SaturationOf
from ..probe.request import Quantity, Request, Scope, as_patterns
from .clipping import ALL_GRADIENTS, STEP_NORM

MOMENTS = MomentsOf()


@dataclass(frozen=True)
class HealthRequests:
    """Measurements that the rules need.

    Args:
        layers: Patterns of layers; None = the default choice.
        params: Patterns of parameters; None = the default choice.
    """

    layers: list[str] | None = None
    params: list[str] | None = None
    activations: Request = field(init=False)
    gradients: Request = field(init=False)
    saturations: Request = field(init=False)
    blocks: Request = field(init=False)
    block_gradients: Request = field(init=False)
    weights: Request = field(init=False)
    weight_grads: Request = field(init=False)
    updates: Request = field(init=False)
    updated: Request = field(init=False)
    rows: Request = field(init=False)
    leftovers: Request = field(init=False)
    copies: Request = field(init=False)
    inputs: Request = field(init=False)
    loss_terms: Request = field(init=False)

    def __post_init__(self) -> None:
        layers, params = as_patterns(self.layers), as_patterns(self.params)
        of_all = partial(Request, statistic=MOMENTS, scope=Scope.ALL)
        of_blocks = partial(Request, statistic=MOMENTS, scope=Scope.BLOCKS)
        saturation = SaturationOf()
        requests = {
            "activations": Request(Quantity.ACTIVATION, MOMENTS, layers),
            "gradients": Request(Quantity.ACTIVATION_GRAD, MOMENTS, layers),
            "saturations": Request(
                Quantity.ACTIVATION, saturation, layers, Scope.ACTIVATIONS
            ),
            "blocks": of_blocks(Quantity.ACTIVATION),
            "block_gradients": of_blocks(Quantity.ACTIVATION_GRAD),
            "weights": of_all(Quantity.WEIGHT),
            "weight_grads": ALL_GRADIENTS,
            "updates": Request(Quantity.UPDATE, MOMENTS, params),
            "updated": Request(Quantity.UPDATED, MOMENTS, params),
            "rows": Request(Quantity.ROWS, MOMENTS, params),
            "leftovers": of_all(Quantity.LEFTOVER),
            "copies": of_all(Quantity.COPIES),
            "inputs": Request(Quantity.INPUT, MOMENTS),
            "loss_terms": Request(Quantity.LOSS_TERM, MOMENTS),
        }
        for name, request in requests.items():
            object.__setattr__(self, name, request)

    def due(
        self, is_first: bool, is_early: bool, is_settled: bool, is_clipped: bool
    ) -> list[Request]:
        """Returns the requests of a due step.

        Args:
            is_first: Whether it is the first of a fit, when structure and inputs are read.
            is_early: Whether it is among the first, when symmetry is judged.
            is_settled: Whether each parameter is known to move, so that those of one axis need not be measured.
            is_clipped: Whether the norm of all gradients is limited.
        """
        always = [
            *(self.activations, self.gradients, self.saturations),
            *(self.blocks, self.block_gradients),
            *(self.updates, self.updated, self.leftovers, self.copies),
        ]
        unsettled = [] if is_settled else [self.weights]
        norms = [] if is_settled and not is_clipped else [self.weight_grads]
        clipping = [STEP_NORM] if is_clipped else []
        early = [self.rows] if is_early else []
        first = [self.inputs, self.loss_terms] if is_first else []
        return always + unsettled + norms + clipping + early + first
