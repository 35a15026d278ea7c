"""Schedule: the due steps, dense at the beginning, and the rarer steps of pictures."""

from dataclasses import dataclass

from .._messages import InstrumentError

LONGEST_INTERVAL = 500
"""Multiples of `every_n_steps` between two pictures at most."""


@dataclass(frozen=True)
class Schedule:
    """Steps at which numbers and pictures are due.

    Args:
        every_n_steps: A step is due when it is a multiple of this.
        dense_start: Whether steps 1, 2, 4, 8, ... below `every_n_steps` are due as well.

    Raises:
        InstrumentError: If `every_n_steps` is no whole number of 1 or more.

    Example:
        >>> [step for step in range(500) if Schedule(100, dense_start=True).is_due(step)]
        [0, 1, 2, 4, 8, 16, 32, 64, 100, 200, 300, 400]
        >>> [step for step in range(10_000) if Schedule(100, dense_start=True).draws(step)]
        [0, 100, 400, 1600, 6400]
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
        """True if numbers are due at a step."""
        return step % self.every_n_steps == 0 or (
            self.dense_start and step < self.every_n_steps and step & (step - 1) == 0
        )

    def draws(self, step: int) -> bool:
        """True if pictures are due: at step 0, at the 1st, 4th, 16th, ... multiple, and at each 500th."""
        multiple, rest = divmod(step, self.every_n_steps)
        is_power_of_four = (
            multiple & (multiple - 1) == 0 and multiple.bit_length() % 2 == 1
        )
        return not rest and (is_power_of_four or multiple % LONGEST_INTERVAL == 0)
