"""Hooks on the steps of a fit's optimizers, for manual optimization: Lightning does not announce all of them."""

from collections.abc import Callable, Sequence
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
    """

    def __init__(
        self,
        guard: Guard,
        before: Callable[[Optimizer, bool], None],
        after: Callable[[Optimizer], None],
    ) -> None:
        self.guard, self.before, self.after = guard, before, after
        self._handles: list[RemovableHandle] = []
        self._hooked: list[Optimizer] = []

    def attach(self, optimizers: Sequence[Optimizer]) -> None:
        """Attaches hooks to optimizers; removes those of before."""
        self.detach()
        # Noted before they are hooked: Ctrl-C can come between a registration and the note of its handle.
        self._hooked = list(optimizers)
        for optimizer in optimizers:
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
    ) -> None:
        has_closure = keywords.get("closure") is not None or any(
            map(callable, arguments)
        )
        self.guard.safely(self.before, optimizer, has_closure)

    def _after(self, optimizer: Optimizer, arguments: Any, keywords: Any) -> None:
        self.guard.safely(self.after, optimizer)
