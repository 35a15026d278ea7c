"""What cannot be seen is known beforehand."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from callbacks._reach import out_of_sight, why_not
from callbacks._selection import choose_layers


class DeepSpeedStrategy:
    """Known by its name: no strategy of one distribution alone."""


class MyStrategy(DeepSpeedStrategy):
    """One derived from it."""


def trainer_under(strategy: object) -> Any:
    return SimpleNamespace(strategy=strategy)


def test_strategies_that_hide_parameters_are_refused_with_a_reason() -> None:
    assert why_not(trainer_under(MyStrategy())) == (
        "cannot measure under MyStrategy: it holds parameters and gradients in places of its own."
    )
    assert why_not(trainer_under(object())) is None


@pytest.mark.filterwarnings("ignore")
def test_layers_that_hooks_cannot_see() -> None:
    root = nn.Module()
    root.plain = nn.Sequential(nn.Tanh())
    root.wrapped = torch.compile(nn.Sequential(nn.Tanh()))  # type: ignore[assignment]
    root.inplace = nn.Sequential(nn.Tanh())
    root.inplace.compile()
    root.script = torch.jit.script(nn.Tanh())
    layers = choose_layers(root, ["*"])
    assert out_of_sight(root, layers) == {"wrapped.0", "inplace", "inplace.0", "script"}
    assert type(layers["wrapped"]).__name__ == "OptimizedModule"  # as a whole it can be seen
