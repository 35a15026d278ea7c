"""Random number generators as objects: of PyTorch, Python and NumPy."""

import random
from collections.abc import Callable
from typing import Any

import torch

Restore = Callable[[], None]


def generator_state(value: Any) -> Restore | None:
    """Returns a function that restores the present state of a random number generator; None of any other object."""
    if isinstance(value, torch.Generator):
        state = value.get_state()
        return lambda: value.set_state(state) and None
    if isinstance(value, random.Random):
        words = value.getstate()
        return lambda: value.setstate(words)
    if type(value).__module__.startswith("numpy.random"):
        bits: Any = getattr(value, "bit_generator", None)
        bits = getattr(value, "_bit_generator", None) if bits is None else bits
        if bits is not None:
            numbers = bits.state
            return lambda: setattr(bits, "state", numbers)
    return None
