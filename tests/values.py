"""Tensors of every kind that a statistic may meet."""

import math

import torch
from hypothesis import strategies as st
from torch import Tensor

float_dtypes = [torch.float32, torch.float64, torch.bfloat16, torch.float16]

AWKWARD = [
    *(0.0, -0.0, 1.0, -1.0, 0.99, 0.9921875, 0.5, 2.0, -2.0, 65536.0, -65536.0, 65535.0, 2.0**-48, -(2.0**-48)),
    *(math.nan, math.inf, -math.inf, 1e-45, -1e-40, 1.17549435e-38, 3.4028234663852886e38, -3e38, 1e-20, 1e20),
]
"""Zeros, edges of bins and octaves, subnormals, the largest, and what is not finite."""


@st.composite
def any_tensor(draw: st.DrawFn) -> Tensor:
    """Any type, shape and strides; random values, constants, or values one has to be careful with."""
    dtype = draw(st.sampled_from(float_dtypes))
    shape = draw(st.lists(st.integers(0, 7), max_size=4))
    count = math.prod(shape)
    element = st.one_of(st.sampled_from(AWKWARD), st.floats(width=32), st.floats(-2, 2, width=32))
    values = draw(st.one_of(st.lists(element, min_size=count, max_size=count), element.map(lambda x: [x] * count)))
    tensor = torch.tensor(values, dtype=torch.float64).to(dtype).reshape(shape)
    if tensor.ndim > 1 and draw(st.booleans()):
        tensor = tensor.transpose(0, -1)
    if tensor.ndim and draw(st.booleans()):
        tensor = tensor[:: draw(st.integers(1, 3))]
    return tensor
