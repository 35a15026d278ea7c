"""What the hooks see of a model, and that they leave no trace."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from callbacks._hooks import LayerHooks, floating_tensors, in_backward


class Log:
    """Keeps what was seen, under the names it was seen by."""

    def __init__(self) -> None:
        self.returned: list[tuple[str, Tensor]] = []
        self.given: list[tuple[str, Tensor]] = []

    def hooks(self, **layers: nn.Module) -> LayerHooks:
        return LayerHooks(
            layers,
            lambda look, *what: look(*what),
            lambda name, _, tensor: self.returned.append((name, tensor.detach().clone())),
            lambda name, _, tensor: self.given.append((name, tensor.detach().clone())),
            given_of=set(layers.values()),
        )


def test_sees_between_attach_and_detach() -> None:
    layer, log = nn.Linear(2, 2), Log()
    hooks = log.hooks(layer=layer)
    layer(torch.ones(1, 2))
    hooks.attach()
    layer(torch.ones(1, 2))
    hooks.attach()  # once more makes no second hook
    layer(torch.ones(1, 2))
    hooks.detach()
    layer(torch.ones(1, 2))
    assert [name for name, _ in log.returned] == ["layer", "layer"]
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks


def test_calls_without_gradients_are_not_part_of_training() -> None:
    layer, log = nn.Linear(2, 2), Log()
    log.hooks(layer=layer).attach()
    with torch.no_grad():
        layer(torch.ones(1, 2))
    with torch.inference_mode():
        layer(torch.ones(1, 2))
    assert not log.returned
    assert not log.given


def test_sees_what_was_given_before_it_is_overwritten() -> None:
    layer, log = nn.ReLU(inplace=True), Log()
    log.hooks(layer=layer).attach()
    layer(torch.tensor([-1.0, 2.0]))
    layer(input=torch.tensor([-3.0, 4.0]))  # by keyword
    assert [tensor.tolist() for _, tensor in log.given] == [[-1.0, 2.0], [-3.0, 4.0]]
    assert [tensor.tolist() for _, tensor in log.returned] == [[0.0, 2.0], [0.0, 4.0]]


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
        (Output(torch.ones(1), (torch.ones(1), torch.ones(1))), [".hidden", ".pair.0", ".pair.1"]),
        (Named(torch.ones(1), torch.ones(1)), [".0", ".1"]),
        (torch.ones(2).to_sparse(), []),
        ("text", []),
        (None, []),
    ],
)
def test_walks_through_outputs(output: Any, paths: list[str]) -> None:
    assert [path for path, _ in floating_tensors(output)] == paths


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 3), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x))


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("times", [1, 2])
def test_the_second_call_of_checkpointing_is_not_counted(reentrant: bool, times: int) -> None:
    block, log = Block(), Log()
    log.hooks(first=block.first, last=block.last).attach()
    x = torch.ones(2, 3, requires_grad=True)
    for _ in range(times):
        x = checkpoint(block, x, use_reentrant=reentrant)  # type: ignore[assignment]
    x.sum().backward()
    assert [name for name, _ in log.returned] == ["first", "last"] * times


def test_tells_a_backward_pass() -> None:
    """PyTorch has no public way to ask; this tells when the private one moves."""
    seen: list[bool] = [in_backward()]
    x = torch.ones(1, requires_grad=True)
    y = x * 2
    y.register_hook(lambda _: seen.append(in_backward()))
    y.backward()
    seen.append(in_backward())
    assert seen == [False, True, False]


def test_a_copy_made_in_the_middle_has_no_hooks_in_effect() -> None:
    layer, log = nn.Linear(2, 2), Log()
    hooks = log.hooks(layer=layer)
    hooks.attach()
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        copied(torch.ones(1, 2))
        copied(input=torch.ones(1, 2))
    assert not log.returned
    assert not log.given
    hooks.detach()


def test_nothing_raised_gets_into_the_model() -> None:
    caught: list[str] = []

    def safely(look: Callable[..., None], *what: Any) -> None:
        try:
            look(*what)
        except ZeroDivisionError:
            caught.append(what[0])

    def fails(*_: Any) -> None:
        raise ZeroDivisionError

    layer = nn.Linear(2, 2)
    LayerHooks({"layer": layer}, safely, fails, fails, {layer}).attach()
    assert layer(torch.ones(1, 2)).shape == (1, 2)
    assert caught == ["layer", "layer"]
