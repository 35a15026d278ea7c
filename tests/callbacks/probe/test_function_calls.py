"""Tests of the mode that observes activation functions: which calls it shows, by whom, and that it changes nothing."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils.checkpoint import checkpoint

from callbacks.measure.activations import Activation
from callbacks.probe.function_calls import FunctionCalls
from callbacks.probe.guard import Guard


class Log:
    """Keeps the calls that it is shown."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str, Activation, Tensor]] = []
        self.ended: list[Tensor] = []
        self.ignored = ""

    def begin_call(
        self, caller: str, function: str, activation: Activation, values: Tensor
    ) -> Any:
        self.begun.append((caller, function, activation, values.detach().clone()))
        return None if function == self.ignored else (caller, function)

    def end_call(self, token: Any, output: Any) -> None:
        self.ended.append(output.detach().clone())

    @property
    def callers(self) -> list[tuple[str, str]]:
        return [(caller, function) for caller, function, *_ in self.begun]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture(autouse=True)
def _no_mode_is_left() -> Iterator[None]:
    yield
    assert not _get_current_function_mode_stack()


def mode_for(net: nn.Module, log: Any, guard: Guard | None = None) -> FunctionCalls:
    layers = {name: layer for name, layer in net.named_modules() if name}
    return FunctionCalls(guard or Guard(), log, layers, net)


def called(log: Log, net: nn.Module, x: Tensor) -> Tensor:
    """Calls a network inside the mode."""
    with mode_for(net, log):
        return net(x)


class Calls(nn.Module):
    """Calls a function in its forward method."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Net(nn.Module):
    """Calls functions itself and has children that do, a module and a function of one kind among them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu, self.head = (
            Calls(torch.tanh),
            nn.ReLU(),
            nn.Sequential(Calls(F.gelu)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.head(F.relu(self.relu(self.first(x)))))


def test_callers_are_the_modules_whose_methods_call(log: Log) -> None:
    called(log, Net(), torch.ones(2))
    assert log.callers == [
        ("first", "tanh"),
        ("", "relu"),
        ("head.0", "gelu"),
        ("", "silu"),
    ]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (torch.tanh, "tanh"),
        (torch.sigmoid, "sigmoid"),
        (lambda x: x.sigmoid(), "sigmoid"),
        (lambda x: x.clone().relu_(), "relu"),
        (lambda x: F.relu(x.clone(), inplace=True), "relu"),
        (lambda x: F.relu(input=x), "relu"),
        (lambda x: torch.tanh(input=x), "tanh"),
        (lambda x: F.leaky_relu(x, 0.2), "leaky_relu"),
        (lambda x: F.softplus(x, beta=2.0), "softplus"),
        (F.hardswish, "hardswish"),
    ],
)
def test_ways_to_call(
    function: Callable[[Tensor], Tensor], name: str, log: Log
) -> None:
    x = torch.linspace(-2, 2, 5)
    output = called(log, Calls(function), x)
    assert log.callers == [("", name)]
    assert torch.equal(log.begun[0][3], x)
    assert torch.equal(log.ended[0], output)
    assert torch.equal(output, function(x))


def test_other_functions_are_not_shown(log: Log) -> None:
    called(
        log,
        Calls(lambda x: torch.exp(F.softmax(x @ x.T, -1)).sum() + 1),
        torch.ones(2, 2),
    )
    assert log.begun == []


def test_arguments_of_a_call(log: Log) -> None:
    called(log, Calls(lambda x: F.elu(x, alpha=0.5)), torch.ones(2))
    assert log.begun[0][2] == Activation("ELU", {"alpha": 0.5})


def test_an_activation_module_is_not_shown_twice(log: Log) -> None:
    """Modules have hooks; the functions inside them are theirs."""
    net = nn.Sequential(nn.ReLU(), nn.GELU(), nn.Sequential(nn.Tanh()))
    called(log, net, torch.ones(2))
    assert log.begun == []


def helper(x: Tensor) -> Tensor:
    return F.relu(x)


def test_helper_functions_belong_to_the_module_that_calls_them(log: Log) -> None:
    class Methods(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return self.twice(helper(x))

        def twice(self, x: Tensor) -> Tensor:
            return torch.tanh(x)

    called(log, nn.Sequential(Methods()), torch.ones(2))
    assert log.callers == [("0", "relu"), ("0", "tanh")]


def test_a_call_outside_of_all_modules_belongs_to_the_model(log: Log) -> None:
    with mode_for(nn.Sequential(), log):
        torch.tanh(torch.ones(2))
    assert log.callers == [("", "tanh")]


def test_only_floating_point_tensors(log: Log) -> None:
    called(
        log,
        Calls(
            lambda x: (
                F.relu(x.long()).float() + torch.relu(torch.ones(2, dtype=torch.int))
            )
        ),
        torch.ones(2),
    )
    assert log.begun == []


def test_a_call_that_is_not_observed_has_no_end(log: Log) -> None:
    log.ignored = "tanh"
    called(log, Calls(lambda x: F.relu(torch.tanh(x))), torch.ones(2))
    assert log.callers == [("", "tanh"), ("", "relu")]
    assert len(log.ended) == 1


def test_gradients_are_bit_equal(log: Log) -> None:
    def gradient(mode: bool) -> Tensor:
        torch.manual_seed(1)
        net, x = Net(), torch.randn(50, requires_grad=True)
        (called(log, net, x) if mode else net(x)).square().sum().backward()
        assert x.grad is not None
        return x.grad

    assert torch.equal(gradient(True), gradient(False))
    assert len(log.ended) == 4


def test_an_exception_of_the_observer_does_not_get_into_the_model() -> None:
    class Raises(Log):
        def begin_call(
            self, caller: str, function: str, activation: Activation, values: Tensor
        ) -> Any:
            raise ZeroDivisionError

    guard, net = Guard(), Net()
    with mode_for(net, Raises(), guard):
        output = net(torch.ones(2))
    assert torch.equal(output, net(torch.ones(2)))
    assert isinstance(guard.error, ZeroDivisionError)


def test_an_exception_of_the_model_leaves_the_mode(log: Log) -> None:
    def fails(x: Tensor) -> Tensor:
        torch.tanh(x)
        raise KeyError("model")

    with pytest.raises(KeyError):
        called(log, Calls(fails), torch.ones(2))
    assert log.callers == [("", "tanh")]


class TestRemove:
    class Other(TorchFunctionMode):
        """Mode that does not belong to the instruments."""

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            return func(*args, **(kwargs or {}))

    def test_not_entered(self, log: Log) -> None:
        mode_for(nn.Sequential(), log).remove()

    def test_twice(self, log: Log) -> None:
        mode = mode_for(nn.Sequential(), log)
        mode.__enter__()
        mode.remove()
        mode.remove()
        torch.tanh(torch.ones(2))
        assert log.begun == []

    def test_another_mode_was_entered_after_this_one(self, log: Log) -> None:
        mode = mode_for(nn.Sequential(), log)
        with self.Other() as before:
            mode.__enter__()
            with self.Other() as after:
                mode.remove()
                assert _get_current_function_mode_stack() == [before, after]
                torch.tanh(torch.ones(2))
        assert log.begun == []

    def test_entered_again(self, log: Log) -> None:
        mode = mode_for(nn.Sequential(), log)
        for _ in range(2):
            mode.__enter__()
            torch.tanh(torch.ones(2))
            mode.remove()
        assert log.callers == [("", "tanh")] * 2


def test_recomputation_in_a_backward_pass(log: Log) -> None:
    """Reentrant checkpointing calls functions again inside a node of the backward pass."""
    x = torch.ones(3, requires_grad=True)
    mode = mode_for(nn.Sequential(), log)
    with mode:
        output: Any = checkpoint(torch.tanh, x, use_reentrant=True)
        loss = (output * 2).sum()
        calls = len(log.begun)
    mode.enter_in_recomputations(loss)
    loss.backward()
    assert calls == 1
    assert log.callers == [("", "tanh")] * 2
    assert x.grad is not None
    assert torch.equal(x.grad, gradient_without_mode())


def gradient_without_mode() -> Tensor:
    x = torch.ones(3, requires_grad=True)
    output: Any = checkpoint(torch.tanh, x, use_reentrant=True)
    (output * 2).sum().backward()
    assert x.grad is not None
    return x.grad


def test_no_recomputation_is_observed_once_the_mode_is_removed(log: Log) -> None:
    x = torch.ones(3, requires_grad=True)
    mode = mode_for(nn.Sequential(), log)
    with mode:
        output: Any = checkpoint(torch.tanh, x, use_reentrant=True)
        loss = output.sum()
    mode.enter_in_recomputations(loss)
    mode.remove()
    loss.backward()
    assert log.callers == [("", "tanh")]
