"""Windows of manual optimization: the batches whose gradients are accumulated by hand before an optimizer steps."""

from collections.abc import Iterable

from torch import Tensor


class Windows:
    """Tells where a window begins, so that a step is observed from its first batch on.

    Attributes:
        moves_unseen: Whether parameters move in a way that leaves no trace on them, such as `param.data -= ...`; then
            each batch counts as a window.
    """

    def __init__(self) -> None:
        self.moves_unseen = False
        self._begins_at: int | None = None
        self._versions: tuple[int, list[int]] | None = None

    def note_end(self, next_step: int) -> None:
        """Notes that a window has ended, so that the next batch begins one."""
        self._begins_at = next_step

    def note_batch(self, step: int, params: Iterable[Tensor]) -> None:
        """Notes the parameters at the beginning of a batch that is not observed."""
        self._versions = step, versions_of(params)

    def begins_at(self, step: int, params: Iterable[Tensor]) -> bool:
        """True if a window begins with a batch; also if nothing is known of the batch before."""
        if self.moves_unseen or self._begins_at == step or self._versions is None:
            return True
        noted, versions = self._versions
        return noted != step - 1 or versions != versions_of(params)


def versions_of(params: Iterable[Tensor]) -> list[int]:
    """Returns how often each parameter has been changed in place."""
    return [param._version for param in params]
