"""Hooks on the steps of optimizers, also of those that Lightning does not know."""

from collections.abc import Callable
from typing import Any

import torch.optim.optimizer as registry
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from .guard import Guard


class OptimizerHooks:
    """Hooks on the steps of all optimizers, also of those that Lightning does not know.

    Args:
        guard: Keeps what the following raise out of the optimizer's step.
        before: Called with an optimizer that is about to step, and whether it has a closure to evaluate first.
        after: Called with an optimizer whose step returned.
    """

    def __init__(
        self, guard: Guard, before: Callable[[Optimizer, bool], None], after: Callable[[Optimizer], None]
    ) -> None:
        self.guard, self.before, self.after = guard, before, after
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Attaches the hooks, unless they are attached."""
        if not self._handles:
            self._handles.append(register_optimizer_step_pre_hook(self._before))
            self._handles.append(register_optimizer_step_post_hook(self._after))

    def detach(self) -> None:
        """Removes the hooks; does nothing if there are none."""
        while self._handles:
            self._handles[-1].remove()
            self._handles.pop()

    def sweep(self) -> None:
        """Removes the hooks whose handles Ctrl-C kept from being noted."""
        self.detach()
        for hooks in (registry._global_optimizer_pre_hooks, registry._global_optimizer_post_hooks):
            for number, hook in list(hooks.items()):
                if getattr(hook, "__self__", None) is self:
                    del hooks[number]

    def _before(self, optimizer: Optimizer, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        has_closure = keywords.get("closure") is not None or any(map(callable, arguments))
        self.guard.safely(self.before, optimizer, has_closure)

    def _after(self, optimizer: Optimizer, arguments: Any, keywords: Any) -> None:
        self.guard.safely(self.after, optimizer)
