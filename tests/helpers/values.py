"""Tensors of all types, shapes and strides, for property tests."""

import math

import torch
from hypothesis import strategies as st
from torch import Tensor

float_dtypes = [torch.float32, torch.float64, torch.bfloat16, torch.float16]

AWKWARD = [
    *(
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.99,
        0.9921875,
        0.5,
        2.0,
        -2.0,
        65536.0,
        -65536.0,
        65535.0,
        2.0**-48,
        -(2.0**-48),
    ),
    *(
        math.nan,
        math.inf,
        -math.inf,
        1e-45,
        -1e-40,
        1.17549435e-38,
        3.4028234663852886e38,
        -3e38,
        1e-20,
        1e20,
    ),
]
"""Zeros, edges of bins and octaves, subnormals, the largest float32, NaN and infinities."""


@st.composite
def any_tensor(draw: st.DrawFn) -> Tensor:
    """Draws any type, shape and strides; random values, constants, or awkward values."""
    dtype = draw(st.sampled_from(float_dtypes))
    shape = draw(st.lists(st.integers(0, 7), max_size=4))
    count = math.prod(shape)
    element = st.one_of(
        st.sampled_from(AWKWARD), st.floats(width=32), st.floats(-2, 2, width=32)
    )
    values = draw(
        st.one_of(
            st.lists(element, min_size=count, max_size=count),
            element.map(lambda x: [x] * count),
        )
    )
    tensor = torch.tensor(values, dtype=torch.float64).to(dtype).reshape(shape)
    if tensor.ndim > 1 and draw(st.booleans()):
        tensor = tensor.transpose(0, -1)
    if tensor.ndim and draw(st.booleans()):
        tensor = tensor[:: draw(st.integers(1, 3))]
    return tensor


def tensor_lists(least: int = 1, most: int = 6) -> st.SearchStrategy[list[Tensor]]:
    """Draws lists of tensors that have at least one value each."""
    return st.lists(
        any_tensor().filter(lambda tensor: tensor.numel() > 0),
        min_size=least,
        max_size=most,
    )


def special_tensors() -> dict[str, Tensor]:
    """Returns tensors that a sum, a mean or a bin number may go wrong with, by name."""
    far_from_zero = torch.randn(5000, dtype=torch.float64) * 0.01 + 1e4
    return {
        "constant": torch.full((3000,), 0.1),
        "one value": torch.tensor([-3.7e-20]),
        "no axes": torch.tensor(2.5),
        "NaN and Inf": torch.tensor([1.0, math.nan, math.inf, -math.inf, 2.0]),
        "NaN alone": torch.full((7,), math.nan),
        "infinities alone": torch.tensor([math.inf, -math.inf]),
        "zeros": torch.tensor([0.0, -0.0, 0.0]),
        "subnormal": torch.tensor([1e-45, -1e-40, 3e-41]),
        "large float64": torch.randn(3000, dtype=torch.float64) * 1e100,
        "tiny float64": torch.randn(3000, dtype=torch.float64) * 1e-100,
        "far from zero": far_from_zero,
        "far from zero in float32": far_from_zero.float(),
        "largest float32": torch.full((2000,), 3.4028234663852886e38),
        "float16": torch.randn(999).half() * 100,
        "bfloat16, strided": torch.randn(40, 50).bfloat16().t()[::3],
        "float8": torch.randn(100).to(torch.float8_e5m2),
        "lazily negated": torch.randn(50, dtype=torch.complex64).conj().imag,
        "with a graph": torch.randn(6, requires_grad=True) * 2,
    }
