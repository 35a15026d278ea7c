"""Places where NaN or infinities began, as FirstSeen."""

from collections.abc import Sequence

from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from .._lightning import LightningModule
from ..probe.nonfinite_origin import NonfiniteOrigin
from ..probe.nonfinite_trace import count_nonfinite
from ..probe.request import Quantity
from ..probe.selection import named_params
from .first_seen import FirstSeen


def of_origin(origin: NonfiniteOrigin, first_step: int) -> FirstSeen:
    """Returns the place where NaN or infinities began; that of a parameter is the step that moved it.

    Args:
        origin: What a second run of the step has found.
        first_step: First step of the fit, before which nothing has moved a parameter.
    """
    if origin.quantity is not Quantity.WEIGHT:
        return FirstSeen(origin.step, origin.where, origin.message)
    of_values = f"in parameter {origin.where}: {origin.count} of its values."
    if origin.step <= first_step:
        message = f"NaN or Inf were there before step {origin.step}, the first of this fit, {of_values}"
        return FirstSeen(origin.step, origin.where, message)
    step = origin.step - 1
    message = f"NaN or Inf began with the update of step {step}, {of_values}"
    return FirstSeen(step, origin.where, message)


def first_update(
    module: LightningModule, optimizers: Sequence[Optimizer], step: int
) -> FirstSeen | None:
    """Returns the first parameter that an update has made NaN or infinite; None if all are finite."""
    for name, param in named_params(module).items():
        if not is_lazy(param) and (count := count_nonfinite(param.detach())):
            kinds = ", ".join({type(each).__name__ for each in optimizers})
            message = (
                f"NaN or Inf began with the update of step {step} by {kinds}, in parameter {name}: "
                f"{count} of its values."
            )
            return FirstSeen(step, name, message)
    return None
