"""Tests of MLP."""

from typing import Any

import pytest
import torch
from torch import nn

from makemore_lightning import MLP, InputError


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({}, 11_897),
        ({"batchnorm": True}, 12_097),
        ({"hidden_sizes": (100,) * 5}, 46_497),
        (
            {"hidden_sizes": (100,) * 5, "batchnorm": True, "head_batchnorm": True},
            47_024,
        ),
        ({"hidden_sizes": ()}, 27 * 10 + 30 * 27 + 27),
    ],
)
def test_number_of_parameters(arguments: dict[str, Any], parameters: int) -> None:
    assert sum(p.numel() for p in MLP(27, 3, **arguments).parameters()) == parameters


def test_forward_equals_the_notes_forward() -> None:
    net = MLP(27, 3, init="tanh")
    contexts = torch.randint(27, (32, 3))
    hidden = net.hidden.get_submodule("linear0")
    assert isinstance(hidden, nn.Linear)
    embedded = net.embedding.weight[contexts].view(32, -1)
    activations = torch.tanh(embedded @ hidden.weight.T + hidden.bias)
    expected = activations @ net.head.weight.T + net.head.bias
    torch.testing.assert_close(net(contexts), expected)


def test_batchnorm_precedes_the_activation_and_replaces_the_bias() -> None:
    net = MLP(27, 3, batchnorm=True, hidden_sizes=(5, 4))
    class_names = [type(module).__name__ for module in net.hidden]
    assert class_names == ["Linear", "BatchNorm1d", "Tanh"] * 2
    assert all(
        module.bias is None for module in net.hidden if isinstance(module, nn.Linear)
    )
    assert net.head.bias is not None


def test_all_layers_are_torch_layers() -> None:
    packages = {
        type(module).__module__.split(".")[0] for module in MLP(27, 3).children()
    }
    assert packages == {"torch"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "tanh"}, "activation='tanh' is not among those"),
        ({"activation": "Linear"}, "activation='Linear'"),
        ({"init": "zeros"}, "init='zeros' is no"),
        ({"hidden_sizes": (10, 0)}, r"must be 1 or more, got \(27, 3, 10, 10, 0\)"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MLP(27, 3, **arguments)
