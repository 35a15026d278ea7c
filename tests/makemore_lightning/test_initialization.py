"""Tests of the initialization schemes and gains."""

import math
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from makemore_lightning.errors import InputError
from makemore_lightning.initialization import SCHEMES, activation_gain, find_scheme
from makemore_lightning.model import ACTIVATIONS, MLP, make_activation


def network(**arguments: Any) -> MLP:
    generator = torch.Generator().manual_seed(2147483647)
    return MLP(27, 3, generator=generator, **arguments)


def first_layer(net: MLP) -> nn.Linear:
    linear = net.hidden.get_submodule("linear0")
    assert isinstance(linear, nn.Linear)
    return linear


class Weights(NamedTuple):
    """Weights as `(fan_in, fan_out)`, the layout of the notes."""

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor


class TestNotes:
    """Compares each scheme with the lines of the notes, on the same random numbers."""

    def setup_method(self) -> None:
        g = torch.Generator().manual_seed(2147483647)
        self.c = torch.randn((27, 10), generator=g)
        self.w1 = torch.randn((30, 200), generator=g)
        self.b1 = torch.randn(200, generator=g)
        self.w2 = torch.randn((200, 27), generator=g)
        self.b2 = torch.randn(27, generator=g)

    def check(self, net: MLP, expected: Weights) -> None:
        hidden = first_layer(net)
        assert torch.equal(net.embedding.weight, self.c)
        torch.testing.assert_close(
            hidden.weight.T.detach(), expected.w1, rtol=1e-6, atol=0
        )
        torch.testing.assert_close(hidden.bias.detach(), expected.b1, rtol=1e-6, atol=0)
        torch.testing.assert_close(
            net.head.weight.T.detach(), expected.w2, rtol=1e-6, atol=0
        )
        assert torch.equal(net.head.bias, expected.b2)

    def test_naive(self) -> None:
        self.check(network(init="naive"), Weights(self.w1, self.b1, self.w2, self.b2))

    def test_logits(self) -> None:
        expected = Weights(self.w1, self.b1, self.w2 * 0.01, self.b2 * 0)
        self.check(network(init="logits"), expected)

    def test_tanh(self) -> None:
        expected = Weights(self.w1 * 0.2, self.b1 * 0.01, self.w2 * 0.01, self.b2 * 0)
        self.check(network(init="tanh"), expected)

    def test_kaiming(self) -> None:
        g = torch.Generator().manual_seed(2147483647)
        torch.randn((27, 10), generator=g)
        w1 = torch.randn((30, 200), generator=g) * (5 / 3) / 30**0.5
        w2 = torch.randn((200, 27), generator=g) / 200**0.5 * 0.1
        expected = Weights(w1, torch.zeros(200), w2, torch.zeros(27))
        self.check(network(init="kaiming"), expected)


def test_torch_scheme_equals_the_default_of_linear() -> None:
    initialized = first_layer(network(init="torch", hidden_sizes=(4000,)))
    default = nn.Linear(30, 4000)
    for name in ("weight", "bias"):
        values, expected = getattr(initialized, name), getattr(default, name)
        assert values.abs().max().item() <= 1 / math.sqrt(30)
        assert values.std().item() == pytest.approx(expected.std().item(), rel=0.05)


def test_kaiming_keeps_the_mean_square_from_layer_to_layer() -> None:
    net = network(init="kaiming", activation="ReLU", hidden_sizes=(1000,) * 4)
    x = torch.randn(500, 30, generator=torch.Generator().manual_seed(0))
    mean_squares = []
    for module in net.hidden:
        x = module(x)
        if isinstance(module, nn.ReLU):
            mean_squares.append(x.square().mean().item())
    assert all(value == pytest.approx(1, abs=0.2) for value in mean_squares)


@pytest.mark.parametrize("init", SCHEMES)
def test_head_scale(init: str) -> None:
    unscaled = network(init=init, head_scale=1.0).head.weight
    torch.testing.assert_close(
        network(init=init, head_scale=0.25).head.weight, unscaled * 0.25
    )
    torch.testing.assert_close(
        network(init=init).head.weight, unscaled * SCHEMES[init].head_scale
    )


def test_head_scale_is_applied_to_the_heads_batchnorm() -> None:
    net = network(batchnorm=True, head_batchnorm=True, head_scale=0.1)
    assert net.head_norm is not None
    assert torch.equal(net.head_norm.weight, torch.full((27,), 0.1))
    assert net.head.weight.std().item() == pytest.approx(1 / math.sqrt(200), rel=0.05)


@pytest.mark.parametrize("init", SCHEMES)
def test_uses_only_the_generator_argument(init: str) -> None:
    state = torch.get_rng_state()
    first, second = network(init=init), network(init=init)
    assert torch.equal(torch.get_rng_state(), state)
    for parameter, repeated in zip(
        first.parameters(), second.parameters(), strict=True
    ):
        assert torch.equal(parameter, repeated)


@pytest.mark.parametrize(
    ("activation", "gain"),
    [("Tanh", 5 / 3), ("ReLU", math.sqrt(2)), ("LeakyReLU", 1.4141), ("Sigmoid", 1)],
)
def test_gain_equals_calculate_gain(activation: str, gain: float) -> None:
    assert activation_gain(make_activation(activation)) == pytest.approx(gain, rel=1e-4)


@pytest.mark.parametrize(
    "activation", ["GELU", "SiLU", "Mish", "Softsign", "Hardtanh", "ReLU6"]
)
def test_gain_without_calculate_gain_keeps_the_mean_square(activation: str) -> None:
    module = make_activation(activation)
    z = torch.randn(
        1_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    outputs = activation_gain(module) * module(z)
    mean_square = outputs.square().mean().item()
    assert mean_square == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_has_a_gain_and_trains(activation: str) -> None:
    assert 0 < activation_gain(make_activation(activation)) < 10
    net = network(activation=activation)
    net(torch.zeros(4, 3, dtype=torch.int64)).sum().backward()
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_message_lists_the_schemes() -> None:
    with pytest.raises(
        InputError,
        match=r"init='xavier' .* there are: naive, logits, tanh, kaiming, torch",
    ):
        find_scheme("xavier")
