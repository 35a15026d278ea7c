"""Tests of the limits of observation: strategies and compiled layers."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from callbacks.probe.selection import named_layers
from callbacks.probe.support import (
    fast_path_modules,
    is_compiled,
    unobservable_modules,
    why_unsupported,
)


class DeepSpeedStrategy:
    """Has the class name that strategies are recognized by."""


class MyStrategy(DeepSpeedStrategy):
    """Derived from a strategy that is not supported."""


def trainer_under(strategy: object) -> Any:
    return SimpleNamespace(strategy=strategy)


def test_unsupported_strategies_and_the_reason() -> None:
    assert why_unsupported(trainer_under(MyStrategy())) == (
        "cannot measure under MyStrategy: it holds parameters and gradients in places of its own."
    )
    assert why_unsupported(trainer_under(object())) is None


def test_a_pytorch_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its training goes on: without this answer, every hook would raise in the model's forward pass."""
    monkeypatch.delattr(torch.compiler, "is_compiling")
    reason = why_unsupported(trainer_under(object()))
    assert reason == f"needs PyTorch 2.3 or newer, not {torch.__version__}."


@pytest.mark.filterwarnings("ignore")
def test_layers_inside_compiled_code() -> None:
    root = nn.Module()
    root.plain = nn.Sequential(nn.Tanh())
    root.wrapped = torch.compile(nn.Sequential(nn.Tanh()))  # type: ignore[assignment]
    root.inplace = nn.Sequential(nn.Tanh())
    root.inplace.compile()
    root.script = torch.jit.script(nn.Tanh())
    layers = named_layers(root)
    hidden = unobservable_modules(root, list(root.modules()))
    assert {name for name, layer in layers.items() if layer in hidden} == {
        *("wrapped.0", "inplace", "inplace.0", "script"),
    }
    assert (
        type(layers["wrapped"]).__name__ == "OptimizedModule"
    )  # can be observed as a whole
    assert is_compiled(root, list(root.modules()))
    assert not is_compiled(root.plain, list(root.plain.modules()))


def test_frozen_attention_modules_have_a_fused_path() -> None:
    attention = nn.MultiheadAttention(4, 2)
    root = nn.Sequential(nn.Linear(4, 4), attention, nn.TransformerEncoderLayer(4, 2))
    assert fast_path_modules(root.modules()) == set()
    attention.requires_grad_(False)
    assert fast_path_modules(root.modules()) == set(attention.modules())
