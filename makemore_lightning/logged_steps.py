"""Schedule of the training metrics: dense at the start of a run, then a bounded number of points per doubling."""

POINTS_PER_DOUBLING = 64
"""Points from any multiple of the interval to its double."""

THINNEST_MULTIPLE = 2**19
"""Multiple of the interval from which on one point per doubling remains."""


def is_logged_step(step: int, every_n_steps: int) -> bool:
    """True if training metrics are due at a step.

    TensorBoard keeps 1000 points of a tag, at random. The schedule has fewer for a run of any length, and depends on
    the step alone: runs of different lengths have points at the same steps, and resuming needs no state.

    Args:
        step: Number of optimizer steps before the step in question; 0 is the state at initialization.
        every_n_steps: The interval; 0 disables logging, as for `Trainer(log_every_n_steps=0)`.

    Example:
        >>> [step for step in range(500) if is_logged_step(step, 100)]
        [0, 1, 2, 4, 8, 16, 32, 64, 100, 200, 300, 400]
        >>> [step for step in range(12_700, 13_500) if is_logged_step(step, 100)]
        [12700, 12800, 13000, 13200, 13400]
    """
    if every_n_steps <= 0:
        return False
    multiple, remainder = divmod(step, every_n_steps)
    if remainder:
        return step < every_n_steps and _is_power_of_two(step)
    if multiple >= THINNEST_MULTIPLE:
        return _is_power_of_two(multiple)
    octave_start = 1 << max(multiple.bit_length() - 1, 0)
    return multiple % max(1, octave_start // POINTS_PER_DOUBLING) == 0


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0
