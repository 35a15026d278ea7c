"""Tests of the search for compiled functions that a model calls."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from callbacks.probe.compiled_functions import (
    compiled_functions,
    is_compiler_in_use,
    owner_of,
)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _compiler_in_use() -> Iterator[None]:
    torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1))
    yield
    torch._dynamo.reset()


def double(x: Tensor) -> Tensor:
    return x * 2


compiled = torch.compile(double, backend="eager")


def helper(x: Tensor) -> Tensor:
    return compiled(x)


def plain_helper(x: Tensor) -> Tensor:
    return double(x)


class CallsGlobal(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return compiled(x)


class CallsHelper(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return helper(x)


class CallsPlainHelper(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return plain_helper(x)


class HasFunction(nn.Module):
    """Calls a function that it has as an attribute."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class HasFunctions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.functions = {"double": compiled}


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (CallsGlobal(), True),
        (CallsHelper(), True),
        (HasFunction(compiled), True),
        (HasFunction(lambda x: helper(x)), True),
        (HasFunctions(), True),
        (CallsPlainHelper(), False),
        (HasFunction(double), False),
        (nn.Sequential(nn.Linear(2, 2), nn.Tanh()), False),
    ],
    ids=lambda value: (
        type(value).__name__ if isinstance(value, nn.Module) else str(value)
    ),
)
def test_compiled_functions(module: nn.Module, expected: bool) -> None:
    functions = compiled_functions(nn.Sequential(module).modules())
    assert bool(functions) == expected


def test_the_compiler_is_in_use() -> None:
    """A private attribute of PyTorch is asked; this test fails when it changes."""
    assert is_compiler_in_use()


def test_the_module_of_a_compiled_method() -> None:
    module = HasFunction(double)
    vars(module)["compiled"] = torch.compile(module.forward, backend="eager")
    (function,) = compiled_functions([module])
    assert owner_of(function) is module
    assert owner_of(compiled) is None
