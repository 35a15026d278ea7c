"""Schedule: the due steps, dense at the beginning."""

from dataclasses import dataclass

from .._messages import InstrumentError


@dataclass(frozen=True)
class Schedule:
    """Steps that are observed.

    Args:
        every_n_steps: A step is due when it is a multiple of this.
        dense_start: Whether steps 1, 2, 4, 8, ... below `every_n_steps` are due as well.

    Raises:
        InstrumentError: If `every_n_steps` is no whole number of 1 or more.

    Example:
        >>> [step for step in range(500) if Schedule(100, dense_start=True).is_due(step)]
        [0, 1, 2, 4, 8, 16, 32, 64, 100, 200, 300, 400]
    """

    every_n_steps: int
    dense_start: bool

    def __post_init__(self) -> None:
        number = self.every_n_steps
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise InstrumentError(
                f"every_n_steps must be a whole number of training steps, 1 or more, got {number!r}"
            )

    def is_due(self, step: int) -> bool:
        """True if a step is due."""
        return step % self.every_n_steps == 0 or (
            self.dense_start and step < self.every_n_steps and step & (step - 1) == 0
        )
