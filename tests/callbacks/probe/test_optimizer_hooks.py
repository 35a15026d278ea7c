"""Tests of the hooks on the steps of optimizers."""

from typing import Any

import pytest
import torch
from torch.optim import SGD

from callbacks.probe.guard import Guard
from callbacks.probe.optimizer_hooks import OptimizerHooks


def make_optimizer() -> SGD:
    param = torch.nn.Parameter(torch.ones(2))
    param.grad = torch.ones(2)
    return SGD([param], lr=0.1)


def hooks_on(optimizer: SGD) -> list[Any]:
    return [
        *optimizer._optimizer_step_pre_hooks.values(),
        *optimizer._optimizer_step_post_hooks.values(),
    ]


def test_observes_steps_between_attach_and_detach() -> None:
    events: list[tuple[str, Any]] = []
    hooks = OptimizerHooks(
        Guard(),
        lambda *asked: events.append(("before", asked)),
        lambda optimizer: events.append(("after", optimizer)),
    )
    sgd, other = make_optimizer(), make_optimizer()
    sgd.step()
    hooks.attach([sgd])
    hooks.attach([sgd])  # attaching again makes no second hook
    sgd.step()
    other.step()
    hooks.detach()
    sgd.step()
    assert events == [("before", (sgd, False)), ("after", sgd)]
    assert hooks_on(sgd) == []


@pytest.mark.parametrize("by_keyword", [True, False])
def test_a_closure(by_keyword: bool) -> None:
    closures: list[bool] = []
    hooks = OptimizerHooks(
        Guard(), lambda _, has_closure: closures.append(has_closure), lambda _: None
    )
    sgd = make_optimizer()
    hooks.attach([sgd])
    if by_keyword:
        sgd.step(closure=lambda: 0.0)
    else:
        sgd.step(lambda: 0.0)
    hooks.detach()
    assert closures == [True]


def test_an_exception_does_not_get_into_the_step() -> None:
    def fails(*_: Any) -> None:
        raise ZeroDivisionError

    guard, sgd = Guard(), make_optimizer()
    hooks = OptimizerHooks(guard, fails, fails)
    hooks.attach([sgd])
    sgd.step()
    hooks.detach()
    assert isinstance(guard.error, ZeroDivisionError)
    assert torch.equal(sgd.param_groups[0]["params"][0], torch.full((2,), 0.9))


def test_sweep_removes_hooks_without_a_handle() -> None:
    """Ctrl-C can come between the registration of a hook and the note of its handle."""
    steps: list[Any] = []
    sgd = make_optimizer()
    own = sgd.register_step_pre_hook(lambda *_: None)
    hooks = OptimizerHooks(Guard(), lambda *asked: steps.append(asked), lambda _: None)
    hooks.attach([sgd])
    hooks._handles.clear()
    hooks.detach()
    hooks.sweep()
    sgd.step()
    assert steps == []
    assert len(hooks_on(sgd)) == 1
    own.remove()
    assert hooks_on(sgd) == []
