import math
from typing import Any

import pytest
import torch
from torch import nn

from makemore_lightning.errors import InputError
from makemore_lightning.initialization import SCHEMES, activation_gain, find_scheme
from makemore_lightning.model import ACTIVATIONS, MLP, make_activation


def network(**arguments: Any) -> MLP:
    generator = torch.Generator().manual_seed(2147483647)
    return MLP(27, 3, generator=generator, **arguments)


def layer(net: MLP, i: int = 0) -> nn.Linear:
    found = net.hidden.get_submodule(f"linear{i}")
    assert isinstance(found, nn.Linear)
    return found


class TestAgainstTheNotes:
    """Each scheme beside the notes' own lines, drawn from the same generator."""

    def setup_method(self) -> None:
        g = torch.Generator().manual_seed(2147483647)
        self.c = torch.randn((27, 10), generator=g)
        self.w1 = torch.randn((30, 200), generator=g)
        self.b1 = torch.randn(200, generator=g)
        self.w2 = torch.randn((200, 27), generator=g)
        self.b2 = torch.randn(27, generator=g)

    def check(self, net: MLP, w1: torch.Tensor, b1: torch.Tensor, w2: torch.Tensor, b2: torch.Tensor) -> None:
        assert torch.equal(net.embedding.weight, self.c)
        for ours, notes in [(layer(net).weight.T, w1), (layer(net).bias, b1), (net.head.weight.T, w2)]:
            torch.testing.assert_close(ours.detach(), notes, rtol=1e-6, atol=0)
        assert torch.equal(net.head.bias, b2)

    def test_naive(self) -> None:
        self.check(network(init="naive"), self.w1, self.b1, self.w2, self.b2)

    def test_logits(self) -> None:
        self.check(network(init="logits"), self.w1, self.b1, self.w2 * 0.01, self.b2 * 0)

    def test_tanh(self) -> None:
        self.check(network(init="tanh"), self.w1 * 0.2, self.b1 * 0.01, self.w2 * 0.01, self.b2 * 0)

    def test_kaiming(self) -> None:
        g = torch.Generator().manual_seed(2147483647)
        torch.randn((27, 10), generator=g)
        w1 = torch.randn((30, 200), generator=g) * (5 / 3) / 30**0.5
        w2 = torch.randn((200, 27), generator=g) / 200**0.5 * 0.1
        self.check(network(init="kaiming"), w1, torch.zeros(200), w2, torch.zeros(27))


def test_torch_is_what_a_fresh_linear_has() -> None:
    net = network(init="torch", hidden_sizes=(4000,))
    fresh = nn.Linear(30, 4000)
    for ours, theirs in [(layer(net).weight, fresh.weight), (layer(net).bias, fresh.bias)]:
        assert ours.abs().max().item() <= 1 / math.sqrt(30)
        assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.05)


def test_kaiming_keeps_the_spread_from_layer_to_layer() -> None:
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
    whole = network(init=init, head_scale=1.0).head.weight
    torch.testing.assert_close(network(init=init, head_scale=0.25).head.weight, whole * 0.25)
    torch.testing.assert_close(network(init=init).head.weight, whole * SCHEMES[init].head_scale)


def test_head_scale_goes_to_the_heads_batchnorm() -> None:
    net = network(batchnorm=True, head_batchnorm=True, head_scale=0.1)
    assert net.head_norm is not None
    assert torch.equal(net.head_norm.weight, torch.full((27,), 0.1))
    assert net.head.weight.std().item() == pytest.approx(1 / math.sqrt(200), rel=0.05)


@pytest.mark.parametrize("init", SCHEMES)
def test_draws_from_the_given_generator_alone(init: str) -> None:
    state = torch.get_rng_state()
    first, second = network(init=init), network(init=init)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize(
    ("activation", "gain"), [("Tanh", 5 / 3), ("ReLU", math.sqrt(2)), ("LeakyReLU", 1.4141), ("Sigmoid", 1)]
)
def test_gain_is_pytorchs_where_it_has_one(activation: str, gain: float) -> None:
    assert activation_gain(make_activation(activation)) == pytest.approx(gain, rel=1e-4)


@pytest.mark.parametrize("activation", ["GELU", "SiLU", "Mish", "Softsign", "Hardtanh", "ReLU6"])
def test_gain_keeps_the_mean_square_where_pytorch_has_none(activation: str) -> None:
    module = make_activation(activation)
    z = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean_square = (activation_gain(module) * module(z)).square().mean().item()
    assert mean_square == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_has_a_gain_and_trains(activation: str) -> None:
    assert 0 < activation_gain(make_activation(activation)) < 10
    net = network(activation=activation)
    net(torch.zeros(4, 3, dtype=torch.int64)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_unknown_scheme_lists_what_there_is() -> None:
    with pytest.raises(InputError, match=r"init='xavier' .* there are: naive, logits, tanh, kaiming, torch"):
        find_scheme("xavier")
