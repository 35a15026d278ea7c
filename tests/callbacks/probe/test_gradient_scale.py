"""Tests of the removal of loss scaling and of the average over ranks."""

import pytest
import torch
from torch.optim import SGD, Adam

from callbacks.probe.gradient_scale import GradientScale

CPU = torch.device("cpu")


def scaled(factor: float = 256.0, ranks: int = 1) -> GradientScale:
    return GradientScale(torch.amp.GradScaler("cpu", init_scale=factor), ranks, CPU)


def test_without_a_scaler_nothing_changes() -> None:
    gradient = torch.randn(3).bfloat16()
    for scaler in (None, torch.amp.GradScaler("cpu", enabled=False)):
        scale = GradientScale(scaler, 1, CPU)
        assert scale.scaler is None
        assert scale.factor() is None
        assert scale.unscaled_activation_grad(gradient) is gradient
        assert (
            scale.unscaled_weight_grad(gradient, SGD([torch.ones(1)], lr=0.1))
            is gradient
        )


def test_the_factor_of_a_scaler() -> None:
    factor = scaled().factor()
    assert factor is not None
    assert factor.item() == 256


@pytest.mark.parametrize("ranks", [1, 4])
def test_activation_gradients(ranks: int) -> None:
    gradient = torch.tensor([512.0, -1024.0]).half()
    unscaled = scaled(ranks=ranks).unscaled_activation_grad(gradient)
    assert (
        unscaled.dtype == torch.float32
    )  # a scaled gradient of half precision may vanish once it is unscaled
    assert unscaled.tolist() == [2.0 / ranks, -4.0 / ranks]
    averaged = GradientScale(None, ranks, CPU).unscaled_activation_grad(
        gradient.float()
    )
    assert averaged.tolist() == [512.0 / ranks, -1024.0 / ranks]


def test_weight_gradients_of_optimizers_that_unscale_themselves() -> None:
    param = torch.nn.Parameter(torch.ones(2))
    gradient = torch.tensor([256.0, 512.0])
    fused, plain = Adam([param], lr=0.1, fused=True), Adam([param], lr=0.1)
    assert scaled().unscaled_weight_grad(gradient, fused).tolist() == [1.0, 2.0]
    assert (
        scaled().unscaled_weight_grad(gradient, plain) is gradient
    )  # Lightning has unscaled it
    sparse = gradient.to_sparse()
    assert scaled().unscaled_weight_grad(sparse, fused).to_dense().tolist() == [
        1.0,
        2.0,
    ]


def test_loss() -> None:
    loss = torch.tensor(64.0, requires_grad=True)
    assert scaled().unscaled_loss(loss, 4).item() == 1.0
    assert GradientScale(None, 1, CPU).unscaled_loss(loss, 4).item() == 256.0
    assert not scaled().unscaled_loss(loss, 1).requires_grad
