"""Tests of the hooks on the steps of all optimizers."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.optim.optimizer as registry
from torch.optim import SGD, Optimizer

from callbacks.probe.guard import Guard
from callbacks.probe.optimizer_hooks import OptimizerHooks


@pytest.fixture(autouse=True)
def _no_hook_is_left() -> Iterator[None]:
    yield
    assert not registry._global_optimizer_pre_hooks
    assert not registry._global_optimizer_post_hooks


def optimizer() -> SGD:
    param = torch.nn.Parameter(torch.ones(2))
    param.grad = torch.ones(2)
    return SGD([param], lr=0.1)


def test_observes_steps_between_attach_and_detach() -> None:
    events: list[tuple[str, Any]] = []
    hooks = OptimizerHooks(
        Guard(),
        lambda *asked: events.append(("before", asked)),
        lambda o: events.append(("after", o)),
    )
    sgd = optimizer()
    sgd.step()
    hooks.attach()
    hooks.attach()  # attaching again makes no second hook
    sgd.step()
    hooks.detach()
    sgd.step()
    assert events == [("before", (sgd, False)), ("after", sgd)]


@pytest.mark.parametrize("by_keyword", [True, False])
def test_a_closure(by_keyword: bool) -> None:
    closures: list[bool] = []
    hooks = OptimizerHooks(
        Guard(), lambda _, has_closure: closures.append(has_closure), lambda _: None
    )
    hooks.attach()
    if by_keyword:
        optimizer().step(closure=lambda: 0.0)
    else:
        optimizer().step(lambda: 0.0)
    hooks.detach()
    assert closures == [True]


def test_an_exception_does_not_get_into_the_step() -> None:
    def fails(*_: Any) -> None:
        raise ZeroDivisionError

    guard, sgd = Guard(), optimizer()
    hooks = OptimizerHooks(guard, fails, fails)
    hooks.attach()
    sgd.step()
    hooks.detach()
    assert isinstance(guard.error, ZeroDivisionError)
    assert torch.equal(sgd.param_groups[0]["params"][0], torch.full((2,), 0.9))


def test_sweep_removes_hooks_without_a_handle() -> None:
    """Ctrl-C can come between the registration of a hook and the note of its handle."""
    own = registry.register_optimizer_step_pre_hook(lambda *_: None)
    hooks, steps = (
        OptimizerHooks(Guard(), lambda *asked: steps.append(asked), lambda _: None),
        [],
    )
    hooks.attach()
    hooks._handles.clear()
    hooks.detach()
    hooks.sweep()
    optimizer().step()
    assert steps == []
    assert len(registry._global_optimizer_pre_hooks) == 1
    own.remove()


def test_an_optimizer_that_is_made_while_attached() -> None:
    stepped: list[Optimizer] = []
    hooks = OptimizerHooks(Guard(), lambda _, __: None, stepped.append)
    hooks.attach()
    sgd = optimizer()
    sgd.step()
    hooks.detach()
    assert stepped == [sgd]
