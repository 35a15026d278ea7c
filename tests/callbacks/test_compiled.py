"""Tests of compiled models: parameters are measured, layers inside compiled code are left out with one warning."""

import pytest
import torch
from fits import (
    Regression,
    every_step,
    expect_close,
    fit,
    loader,
    numbers,
    records_of,
    runtime_warnings,
    tanh_net,
)
from lightning.pytorch import Callback, LightningModule

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.parametrize(
        "how", ["submodule", "in place", "layer in place", "whole"]
    ),
]


def compiled(how: str) -> LightningModule:
    module = Regression(tanh_net())
    if how == "submodule":
        module.net = torch.compile(module.net, backend="aot_eager")  # type: ignore[assignment]
    elif how == "in place":
        module.net.compile(backend="aot_eager")
    elif how == "layer in place":
        for layer in module.net:  # type: ignore[union-attr]
            layer.compile(backend="aot_eager")
    elif how == "whole":
        return torch.compile(module, backend="aot_eager")  # type: ignore[return-value]
    return module


def test_parameters_are_measured_and_layers_left_out(how: str) -> None:
    plots = (
        "weight_std",
        "weight_grad_std",
        "grad_data_ratio",
        "grad_norm",
        "update_ratio",
    )
    with runtime_warnings() as messages:
        records = records_of(
            lambda: compiled(how), max_steps=4, val=loader(), num_sanity_val_steps=2
        )
    plain = records_of(lambda: compiled("not"), max_steps=4)
    for step in range(4):
        expect_close(numbers(records[step], *plots), numbers(plain[step], *plots))
        assert not [
            tag
            for tag in records[step]
            if tag.startswith(("activation", "saturation", "dead"))
        ]
    (message,) = messages
    assert message.startswith(
        "Training diagnostics: layers inside compiled code cannot be observed"
    )
    assert "net.1" in message
    assert "net.3" in message


def test_graphs_are_those_of_a_bare_fit(how: str) -> None:
    def graphs(*instruments: Callback) -> dict[str, int]:
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        fit(lambda: compiled(how), instruments, max_steps=20)
        return dict(torch._dynamo.utils.counters["stats"])

    with runtime_warnings():
        assert graphs(*every_step(figures=False)) == graphs()
