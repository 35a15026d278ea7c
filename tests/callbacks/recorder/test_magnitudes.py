"""Tests of the largest magnitude of a tensor: small and large, in any layout, with what is not finite."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from callbacks.measure.placement import simulated_device
from callbacks.recorder.magnitudes import LARGE, largest_magnitude

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda values: values,
    "transposed": lambda values: values.t(),
    "every other one": lambda values: values[:, ::2],
    "requires gradients": lambda values: values.clone().requires_grad_(),
}
SIZES = [1, 64, LARGE - 2, LARGE, 3 * LARGE]


def expected(values: Tensor) -> float:
    return float(np.abs(values.detach().double().numpy()).max())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("special", [-50.0, 50.0, np.inf, -np.inf, np.nan])
def test_is_that_of_numpy(
    size: int, layout: str, dtype: torch.dtype, special: float
) -> None:
    values = torch.randn(max(1, size // 2), 2).to(dtype)
    values[-1, 0] = special
    values = LAYOUTS[layout](values)
    for found in (largest_magnitude(values), _as_on_a_device(values)):
        assert found.shape == ()
        np.testing.assert_equal(found.double().item(), expected(values))


def _as_on_a_device(values: Tensor) -> Tensor:
    with simulated_device():
        return largest_magnitude(values)
