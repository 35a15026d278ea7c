"""Tests of the forward hooks: what they pass on, and that they leave no trace."""

import copy
import pickle
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from callbacks.probe.guard import Guard
from callbacks.probe.layer_hooks import (
    LayerHooks,
    first_tensor,
    floating_tensors,
    is_in_backward,
    is_recomputing_saved_tensors,
)


class Log:
    """Keeps the observed inputs and outputs by layer name, and counts all calls."""

    def __init__(self) -> None:
        self.outputs: list[tuple[str, Tensor]] = []
        self.inputs: list[tuple[str, Tensor]] = []
        self.calls: list[str] = []
        self.guard = Guard()
        self.hooks = LayerHooks(
            self.guard, self.keep_output, self.keep_input, self.calls.append
        )

    def keep_output(self, name: str, output: Any) -> None:
        self.outputs.append((name, output.detach().clone()))

    def keep_input(self, name: str, arguments: Any) -> None:
        values = first_tensor(arguments)
        assert values is not None
        self.inputs.append((name, values.detach().clone()))

    def attach(self, **layers: nn.Module) -> None:
        self.hooks.attach(layers, with_input=layers)


@pytest.fixture
def log() -> Log:
    return Log()


def test_observes_between_attach_and_detach(log: Log) -> None:
    layer = nn.Linear(2, 2)
    layer(torch.ones(1, 2))
    log.attach(layer=layer)
    layer(torch.ones(1, 2))
    log.attach(layer=layer)  # attaching again makes no second hook
    layer(torch.ones(1, 2))
    log.hooks.detach()
    layer(torch.ones(1, 2))
    assert [name for name, _ in log.outputs] == ["layer", "layer"] == log.calls
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks


def test_observes_inputs_where_asked_for(log: Log) -> None:
    first, second = nn.Tanh(), nn.Tanh()
    log.hooks.attach({"first": first, "second": second}, with_input={"second"})
    second(first(torch.ones(1, 2)))
    assert [name for name, _ in log.inputs] == ["second"]
    assert not first._forward_pre_hooks


def test_calls_without_gradients_are_counted_and_not_observed(log: Log) -> None:
    layer = nn.Linear(2, 2)
    log.attach(layer=layer)
    with torch.no_grad():
        layer(torch.ones(1, 2))
    with torch.inference_mode():
        layer(torch.ones(1, 2))
    assert not log.outputs
    assert not log.inputs
    assert log.calls == ["layer", "layer"]


def test_inputs_are_observed_before_they_are_overwritten(log: Log) -> None:
    layer = nn.ReLU(inplace=True)
    log.attach(layer=layer)
    layer(torch.tensor([-1.0, 2.0]))
    layer(input=torch.tensor([-3.0, 4.0]))  # by keyword
    assert [tensor.tolist() for _, tensor in log.inputs] == [[-1.0, 2.0], [-3.0, 4.0]]
    assert [tensor.tolist() for _, tensor in log.outputs] == [[0.0, 2.0], [0.0, 4.0]]


@dataclass
class Output:
    hidden: Tensor
    pair: tuple[Tensor, Tensor]
    length: int = 3


class Named(NamedTuple):
    a: Tensor
    b: Tensor


@pytest.mark.parametrize(
    ("output", "paths"),
    [
        (torch.ones(1), [""]),
        ((torch.ones(1), None, 3), [".0"]),
        ((torch.ones(1), (torch.ones(1), [torch.ones(1)])), [".0", ".1.0", ".1.1.0"]),
        ({"loss": torch.ones(()), "ids": torch.ones(1, dtype=torch.int64)}, [".loss"]),
        (
            Output(torch.ones(1), (torch.ones(1), torch.ones(1))),
            [".hidden", ".pair.0", ".pair.1"],
        ),
        (Named(torch.ones(1), torch.ones(1)), [".0", ".1"]),
        (torch.ones(2).to_sparse(), []),
        (torch.nested.nested_tensor([torch.ones(2)], layout=torch.jagged), []),
        ("text", []),
        (None, []),
    ],
)
def test_walks_through_outputs(output: Any, paths: list[str]) -> None:
    assert [path for path, _ in floating_tensors(output)] == paths


def test_first_tensor() -> None:
    assert first_tensor((("text", 3), {"input": torch.ones(2)})) is not None
    assert first_tensor(((torch.ones(2, dtype=torch.long),), {})) is None


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 3), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x))


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("times", [1, 2])
def test_the_second_call_of_checkpointing_is_not_counted(
    reentrant: bool, times: int, log: Log
) -> None:
    block = Block()
    log.attach(first=block.first, last=block.last)
    x = torch.ones(2, 3, requires_grad=True)
    for _ in range(times):
        x = checkpoint(block, x, use_reentrant=reentrant)  # type: ignore[assignment]
    x.sum().backward()
    assert [name for name, _ in log.outputs] == ["first", "last"] * times
    assert log.calls == ["first", "last"] * times


def test_in_a_backward_pass() -> None:
    """Private functions of PyTorch are asked; this test fails when they change."""
    states = [is_in_backward()]
    x = torch.ones(1, requires_grad=True)
    y = x * 2
    y.register_hook(lambda _: states.append(is_in_backward()))
    y.backward()
    states.append(is_in_backward())
    assert states == [False, True, False]


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputation_of_saved_tensors(reentrant: bool) -> None:
    states: list[bool] = []

    def called(x: Tensor) -> Tensor:
        states.append(is_recomputing_saved_tensors())
        return torch.tanh(x)

    output: Any = checkpoint(
        called, torch.ones(2, requires_grad=True), use_reentrant=reentrant
    )
    output.sum().backward()
    assert states == [False, not reentrant]


def test_a_copy_of_a_hooked_layer_has_no_hooks_in_effect(log: Log) -> None:
    layer = nn.Linear(2, 2)
    log.attach(layer=layer)
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        copied(torch.ones(1, 2))
        copied(input=torch.ones(1, 2))
    assert not log.outputs
    assert not log.inputs
    log.hooks.detach()


def test_an_exception_does_not_get_into_the_model() -> None:
    def fails(*_: Any) -> None:
        raise ZeroDivisionError

    layer, guard = nn.Linear(2, 2), Guard()
    LayerHooks(guard, fails, fails, fails).attach({"layer": layer}, {"layer"})
    assert layer(torch.ones(1, 2)).shape == (1, 2)
    assert isinstance(guard.error, ZeroDivisionError)


def test_sweep_removes_hooks_without_a_handle(log: Log) -> None:
    """Ctrl-C can come between the registration of a hook and the note of its handle."""
    layer, own = nn.Linear(2, 2), []
    layer.register_forward_hook(lambda *_: own.append(1))
    log.attach(layer=layer)
    log.hooks._handles.clear()
    log.hooks.detach()
    assert len(layer._forward_hooks) == 2
    log.hooks.sweep()
    layer(torch.ones(1, 2))
    assert len(layer._forward_hooks) == 1
    assert not layer._forward_pre_hooks
    assert own == [1]
    assert not log.outputs
