"""Hooks on the steps of a fit's optimizers: Lightning does not announce all of them, nor the end of clipping."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from .guard import Guard


class OptimizerHooks:
    """Hooks on optimizers, attached for one training batch at a time.

    They are on each optimizer, not global: another thread may be stepping one of its own.

    Args:
        guard: Keeps what the following raise out of the optimizer's step.
        before: Called with an optimizer that is about to step, and whether it has a closure to evaluate first.
        after: Called with an optimizer whose step returned.
        ready: Called with an optimizer whose gradients are complete and clipped: after its closure was evaluated, or
            before a step without one.
    """

    def __init__(
        self,
        guard: Guard,
        before: Callable[[Optimizer, bool], None] | None = None,
        after: Callable[[Optimizer], None] | None = None,
        ready: Callable[[Optimizer], None] | None = None,
    ) -> None:
        self.guard = guard
        self.before, self.after, self.ready = before, after, ready
        self._handles: list[RemovableHandle] = []
        self._hooked: list[Optimizer] = []

    def attach(self, optimizers: Sequence[Optimizer]) -> None:
        """Attaches hooks to optimizers; removes those of before. Leaves out those that can have none."""
        self.detach()
        # Noted before they are hooked: Ctrl-C can come between a registration and the note of its handle.
        self._hooked = [each for each in optimizers if can_be_hooked(each)]
        for optimizer in self._hooked:
            self._handles.append(optimizer.register_step_pre_hook(self._before))
            self._handles.append(optimizer.register_step_post_hook(self._after))

    def detach(self) -> None:
        """Removes the hooks; does nothing if there are none."""
        while self._handles:
            self._handles[-1].remove()
            self._handles.pop()

    def sweep(self) -> None:
        """Removes the hooks whose handles Ctrl-C kept from being noted."""
        self.detach()
        for optimizer in self._hooked:
            for hooks in (
                optimizer._optimizer_step_pre_hooks,
                optimizer._optimizer_step_post_hooks,
            ):
                for number, hook in list(hooks.items()):
                    if getattr(hook, "__self__", None) is self:
                        del hooks[number]
        self._hooked = []

    def _before(
        self, optimizer: Optimizer, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        # The optimizer is the first of its step's arguments, and may be callable itself.
        itself, *others = arguments
        has_closure = keywords.get("closure") is not None or any(map(callable, others))
        if self.before is not None:
            self.guard.safely(self.before, optimizer, has_closure)
        if self.ready is None:
            return None
        ready = partial(self.guard.safely, self.ready, optimizer)
        if not has_closure:
            ready()
            return None
        watched = partial(followed_by, ready)
        return (itself, *map(watched, others)), {
            name: watched(value) for name, value in keywords.items()
        }

    def _after(self, optimizer: Optimizer, arguments: Any, keywords: Any) -> None:
        if self.after is not None:
            self.guard.safely(self.after, optimizer)


def followed_by(ready: Callable[[], None], argument: Any) -> Any:
    """Returns an argument of an optimizer's step; of a closure, one that calls `ready` after each evaluation."""
    if not callable(argument):
        return argument

    def evaluate(*arguments: Any, **keywords: Any) -> Any:
        result = argument(*arguments, **keywords)
        ready()
        return result

    return evaluate


def can_be_hooked(optimizer: Optimizer) -> bool:
    """False of an optimizer that is none of PyTorch's, or a wrapper that never called its base's `__init__`."""
    return hasattr(optimizer, "_optimizer_step_pre_hooks")


def takes_hooks(optimizer: Optimizer) -> bool:
    """True of an optimizer of PyTorch's whose step is not compiled: hooks would be compiled along with it."""
    step: Any = optimizer.step
    while step is not None:
        # PyTorch keeps the step of some optimizers, such as LBFGS, out of compiled code by the same attribute.
        is_disabled = getattr(step, "_torchdynamo_disable", False)
        if hasattr(step, "_torchdynamo_orig_callable") and not is_disabled:
            return False
        step = getattr(step, "__wrapped__", None)
    return can_be_hooked(optimizer)
