"""Norms of the gradients of an optimizer's parameters, by few kernels."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..measure.pieces import widened
from ..probe.distributed import own_values
from ..probe.gradient_scale import GradientScale
from ..probe.nonfinite_watch import foreach_norm
from ..probe.selection import named_params
from .rows import NormsOf


class GradientNorms:
    """L2 norms of gradients, unscaled.

    Args:
        root: The model.
        scale: Scale of the gradients of the fit.
    """

    def __init__(self, root: nn.Module, scale: GradientScale) -> None:
        self._root, self._scale = root, scale
        self._names = self._read_names()

    def _read_names(self) -> dict[int, str]:
        """Returns the names of parameters by identity."""
        return {id(param): name for name, param in named_params(self._root).items()}

    def measure(self, optimizer: Optimizer) -> NormsOf | None:
        """Returns the norm of each gradient of an optimizer; None if there is no gradient."""
        params = [
            param
            for group in optimizer.param_groups
            for param in group["params"]
            if param.grad is not None
        ]
        if not params:
            return None
        norms = norms_of([param.grad for param in params])
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            # A fused optimizer undoes loss scaling inside its step.
            factor = self._scale.factor()
            norms = norms if factor is None else norms / factor
        if any(id(param) not in self._names for param in params):
            self._names |= self._read_names()  # a layer was added or replaced
        unknown = "no parameter of the model"
        names = tuple(self._names.get(id(param), unknown) for param in params)
        return NormsOf(names, norms)


def norms_of(gradients: Sequence[Any]) -> Tensor:
    """Returns the `(n,)` L2 norms of n gradients, float32 or float64, on the device of the first.

    Of a gradient that is sharded over ranks, the norm is that of this rank's part.
    """
    with torch.no_grad():
        values = [widened(dense_values(each)) for each in gradients]
        device = values[0].device
        if all(
            each.device == device and each.dtype == values[0].dtype for each in values
        ):
            return torch.stack(foreach_norm(values))
        norms = [torch.linalg.vector_norm(each).to(device).float() for each in values]
        return torch.stack(norms)


def dense_values(gradient: Tensor) -> Tensor:
    """Returns the values of a gradient that this rank has; of a sparse one those that are not zero."""
    gradient = own_values(gradient)
    return gradient.coalesce().values() if gradient.is_sparse else gradient
