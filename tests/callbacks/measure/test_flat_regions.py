"""Tests of the regions in which activations are flat, against the slopes that autograd computes."""

import pytest
import torch
from torch import Tensor, nn

from callbacks.measure.activations import activation_of_module
from callbacks.measure.flat_regions import FlatRegion, flat_region

INPUTS = torch.linspace(-12, 12, 40_001, dtype=torch.float64)
MONOTONE = [
    *(
        nn.Tanh(),
        nn.Sigmoid(),
        nn.Softsign(),
        nn.ReLU(),
        nn.ReLU6(),
        nn.Hardtanh(-2, 3),
        nn.Hardsigmoid(),
    ),
    *(
        nn.Hardshrink(),
        nn.Softshrink(),
        nn.Threshold(0.1, 20),
        nn.ELU(),
        nn.ELU(2.0),
        nn.CELU(0.5),
        nn.SELU(),
    ),
    *(nn.Tanhshrink(), nn.Softplus(), nn.Softplus(beta=3), nn.LogSigmoid()),
]
DIPPING = [nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Hardswish()]


def region_of(module: nn.Module, threshold: float) -> FlatRegion:
    region = flat_region(activation_of_module(module), threshold)
    assert region is not None
    return region


def slopes_of(module: nn.Module) -> tuple[Tensor, Tensor]:
    inputs = INPUTS.clone().requires_grad_()
    outputs = module(inputs)
    (slopes,) = torch.autograd.grad(outputs.sum(), inputs)
    return outputs.detach(), slopes


@pytest.mark.parametrize("module", MONOTONE, ids=repr)
@pytest.mark.parametrize("threshold", [0.5, 0.97, 0.99])
def test_the_output_decides_where_the_slope_is_below_tanhs(
    module: nn.Module, threshold: float
) -> None:
    outputs, slopes = slopes_of(module)
    if isinstance(module, nn.Hardsigmoid):
        threshold = 0.99  # further down, its middle is flatter than tanh is there; only its ends are meant
    region = region_of(module, threshold)
    assert not region.of_input
    expected = slopes.abs() < 1 - threshold**2
    clear = (slopes.abs() - (1 - threshold**2)).abs() > 1e-9
    # Where two slopes meet, autograd has to choose one.
    differing = (region.test(outputs) != expected) & clear
    assert int(differing.sum()) <= 2


@pytest.mark.parametrize("module", DIPPING, ids=repr)
@pytest.mark.parametrize("threshold", [0.97, 0.99])
def test_the_input_decides_where_the_output_cannot(
    module: nn.Module, threshold: float
) -> None:
    _, slopes = slopes_of(module)
    region = region_of(module, threshold)
    assert region.of_input
    steep = (slopes.abs() >= 1 - threshold**2).nonzero()
    expected = torch.arange(len(INPUTS)) < int(
        steep[0]
    )  # below the first input where it is steep
    assert (region.test(INPUTS) != expected).sum() <= 12  # 12 inputs are 0.007


@pytest.mark.parametrize("module", [nn.LeakyReLU(), nn.PReLU(), nn.RReLU()])
def test_leaky_activations_have_no_flat_region(module: nn.Module) -> None:
    assert flat_region(activation_of_module(module), 0.99) is None


def test_limits_are_rounded_as_the_module_rounds_them() -> None:
    module = nn.Hardtanh(-0.7, 0.7)
    values = module(torch.linspace(-1, 1, 101).bfloat16())
    assert (
        region_of(module, 0.99).test(values).sum()
        == (values.abs() == values.max()).sum()
        > 20
    )


def test_a_layer_that_is_no_activation_is_judged_like_tanh() -> None:
    region = region_of(nn.Linear(2, 2), 0.9)
    assert region.test(torch.tensor([-1.0, -0.9, 0.0, 0.91])).tolist() == [
        True,
        False,
        False,
        True,
    ]


def test_in_inference_mode() -> None:
    """The slope of a curve is computed with autograd, also where that is turned off."""
    with torch.inference_mode():
        assert region_of(nn.Mish(), 0.98).of_input


@pytest.mark.parametrize(
    ("module", "off"),
    [
        (nn.ReLU(), "zeros"),
        (nn.ReLU6(), "at 0 or 6"),
        (nn.Hardtanh(), None),
        (nn.Threshold(0.1, 0.0), "zeros"),
        (nn.Threshold(0.1, -2.0), "at -2"),
        (nn.Softshrink(), "zeros"),
        (nn.Tanh(), None),
        (nn.GELU(), None),
        (nn.Sigmoid(), None),
        (nn.Tanhshrink(), None),
    ],
    ids=str,
)
def test_units_that_are_switched_off(module: nn.Module, off: str | None) -> None:
    assert region_of(module, 0.99).off == off
