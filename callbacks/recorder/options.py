"""Options of a recording, checked."""

from dataclasses import dataclass

from .._messages import InstrumentError


@dataclass(frozen=True)
class Options:
    """Numbers of steps and batches that are kept, and limits of a jump.

    Attributes:
        steps: Steps whose numbers are kept.
        batches: Batches that are kept.
        state_every_n_steps: Steps between copies of the state; None = no copies.
        loss_factor: Multiple of its running mean from which the loss jumps; None = never.
        gradient_factor: The same of the gradient norm.
        deviations: Standard deviations above its running mean from which a number jumps.
        most_bundles: Bundles of a fit.

    Raises:
        InstrumentError: If one of them makes no sense.
    """

    steps: int
    batches: int
    state_every_n_steps: int | None
    loss_factor: float | None
    gradient_factor: float | None
    deviations: float
    most_bundles: int

    def __post_init__(self) -> None:
        check_whole("steps", self.steps)
        check_whole("batches", self.batches)
        check_whole("most_bundles", self.most_bundles)
        if self.state_every_n_steps is not None:
            check_whole("state_every_n_steps", self.state_every_n_steps)
        if self.loss_factor is not None:
            check_larger("loss_factor", self.loss_factor, 1.0)
        if self.gradient_factor is not None:
            check_larger("gradient_factor", self.gradient_factor, 1.0)
        check_larger("deviations", self.deviations, 0.0)


def check_whole(name: str, number: int) -> None:
    """Checks a number of steps, batches or bundles.

    Raises:
        InstrumentError: If it is no whole number of at least one.
    """
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise InstrumentError(
            f"{name} must be a whole number, 1 or more, got {number!r}"
        )


def check_larger(name: str, number: float, least: float) -> None:
    """Checks a limit.

    Raises:
        InstrumentError: If it is no finite number above the least one.
    """
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not is_number or not least < number < float("inf"):
        raise InstrumentError(
            f"{name} must be a number larger than {least:g}, got {number!r}"
        )
