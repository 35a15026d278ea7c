"""Where activations are flat, beside the slopes that autograd finds."""

import pytest
import torch
from torch import Tensor, nn

from callbacks._activations import FlatInput, activation_kind, flat_ends, is_activation

INPUTS = torch.linspace(-12, 12, 40_001, dtype=torch.float64)
MONOTONE = [
    *(nn.Tanh(), nn.Sigmoid(), nn.Softsign(), nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-2, 3), nn.Hardsigmoid()),
    *(nn.Hardshrink(), nn.Softshrink(), nn.Threshold(0.1, 20), nn.ELU(), nn.ELU(2.0), nn.CELU(0.5), nn.SELU()),
    *(nn.Tanhshrink(), nn.Softplus(), nn.Softplus(beta=3), nn.LogSigmoid()),
]
DIPPING = [nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Hardswish()]


def slopes_of(module: nn.Module) -> tuple[Tensor, Tensor]:
    inputs = INPUTS.clone().requires_grad_()
    outputs = module(inputs)
    (slopes,) = torch.autograd.grad(outputs.sum(), inputs)
    return outputs.detach(), slopes


@pytest.mark.parametrize("module", MONOTONE, ids=repr)
@pytest.mark.parametrize("threshold", [0.5, 0.97, 0.99])
def test_the_output_tells_where_the_slope_is_below_tanhs(module: nn.Module, threshold: float) -> None:
    outputs, slopes = slopes_of(module)
    if isinstance(module, nn.Hardsigmoid):
        threshold = 0.99  # further down, its middle is flatter than tanh is there; only its ends are meant
    flat = flat_ends(module, threshold)
    assert not isinstance(flat, FlatInput)
    expected = slopes.abs() < 1 - threshold**2
    clear = (slopes.abs() - (1 - threshold**2)).abs() > 1e-9
    # Where two slopes meet, autograd has to choose one.
    differing = (flat.test(outputs) != expected) & clear
    assert int(differing.sum()) <= 2


@pytest.mark.parametrize("module", DIPPING, ids=repr)
@pytest.mark.parametrize("threshold", [0.97, 0.99])
def test_the_input_tells_where_the_output_cannot(module: nn.Module, threshold: float) -> None:
    _, slopes = slopes_of(module)
    flat = flat_ends(module, threshold)
    assert isinstance(flat, FlatInput)
    steep = (slopes.abs() >= 1 - threshold**2).nonzero()
    expected = torch.arange(len(INPUTS)) < int(steep[0])  # below the first input where it is steep
    assert (flat.test(INPUTS) != expected).sum() <= 12  # 12 inputs are 0.007


@pytest.mark.parametrize("module", [nn.LeakyReLU(), nn.PReLU(), nn.RReLU()])
def test_never(module: nn.Module) -> None:
    flat = flat_ends(module, 0.99)
    assert not flat.test(module(INPUTS.float())).any()


def test_limits_are_rounded_as_the_module_rounds_them() -> None:
    module = nn.Hardtanh(-0.7, 0.7)
    values = module(torch.linspace(-1, 1, 101).bfloat16())
    assert flat_ends(module, 0.99).test(values).sum() == (values.abs() == values.max()).sum() > 20


def test_what_is_no_activation_is_judged_like_tanh() -> None:
    flat = flat_ends(nn.Linear(2, 2), 0.9)
    assert flat.test(torch.tensor([-1.0, -0.9, 0.0, 0.91])).tolist() == [True, False, False, True]


class NewGELUActivation(nn.Module):
    """As transformers has it: no subclass of nn.GELU."""


class MyTanh(nn.Tanh):
    """A class of one's own."""


class Tanhlike(nn.Module):
    """Only begins like one."""


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (NewGELUActivation(), "GELU"),
        (MyTanh(), "Tanh"),
        (nn.ReLU6(), "Hardtanh"),
        (nn.SiLU(inplace=True), "SiLU"),
        (nn.MultiheadAttention(2, 1), None),
        (nn.Softmax(-1), None),
        (nn.Identity(), None),
        (nn.Sequential(nn.Tanh()), None),
        (Tanhlike(), None),
    ],
)
def test_what_an_activation_is(module: nn.Module, kind: str | None) -> None:
    assert activation_kind(module) == kind
    assert is_activation(module) == (kind is not None)
