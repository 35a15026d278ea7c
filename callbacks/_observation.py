"""One due step of one instrument, from its first batch to the moved parameters."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

from ._hooks import LayerHooks
from ._transfer import Pending

Kind = TypeVar("Kind", bound=Pending)


class Observation:
    """What looks at the layers in a step, and what has been measured of it so far, in the order it was seen.

    Args:
        step: Which step it is.
        hooks: Look at the layers, from batch to batch.
        failed: Whether nothing is to be measured, for it cannot be.
    """

    def __init__(self, step: int, hooks: LayerHooks, failed: bool = False) -> None:
        self.step, self.hooks, self.failed = step, hooks, failed
        self.pending: dict[str, Any] = {}
        self.takes_gradients = False
        """Whether a gradient that comes by is that of the loss, not of something that the loss is made of."""
        self.has_stepped = False
        """Whether an optimizer was about to step."""
        self.noticing: RemovableHandle | None = None
        self.batches = 0
        """How many have come to their end."""

    def look(self, at_optimizers: bool = False) -> None:
        """Sees the layers in the batch that comes.

        Args:
            at_optimizers: Whether to notice the step of any optimizer: also of one that Lightning does not know of.
        """
        if at_optimizers and self.noticing is None:
            self.noticing = register_optimizer_step_post_hook(self._notice)
        if not self.failed:
            self.hooks.attach()

    def _notice(self, *_: Any) -> None:
        self.has_stepped = True

    def look_away(self) -> None:
        """Sees no more of the layers, until the next batch of the step."""
        self.hooks.detach()
        self.takes_gradients = False
        if self.noticing is not None:
            self.noticing.remove()
            self.noticing = None

    def fail(self) -> None:
        """Gives up: forgets what has been measured."""
        self.failed = True
        self.look_away()
        self.pending.clear()

    def tally(self, tag: str, kind: Callable[[], Kind]) -> Kind:
        """Returns the tally under a tag, the first time a new one."""
        if tag not in self.pending:
            self.pending[tag] = kind()
        return self.pending[tag]
