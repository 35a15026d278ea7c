"""Requests: what an instrument wants measured, of what, and by which statistic."""

from enum import Enum
from typing import NamedTuple

from ..measure.statistic import Statistic


class Quantity(Enum):
    """Tensors of a training step, in the order in which a NaN travels through them.

    The value names a tensor in messages.
    """

    INPUT = "input of {}"
    WEIGHT = "parameter {}"
    ACTIVATION = "output of {}"
    LOSS = "loss"
    ACTIVATION_GRAD = "gradient of the output of {}"
    WEIGHT_GRAD = "gradient of {}"
    STEP_GRAD = "gradient of {} at the optimizer's step"
    STEP_NORM = "norm of the gradients at the optimizer's step"
    LEARNING_RATE = "learning rate of {}"
    SCALE = "scale of the gradient scaler"
    UPDATE = "update of {}"
    UPDATED = "parameter {} after the update"
    ROWS = "equal rows in the gradient of {}"
    LEFTOVER = "gradient of {} before the backward pass"
    COPIES = "copies of {} on all ranks"
    LOSS_TERM = "{} of the loss"
    PAST_LOSS = "loss of the steps before"

    # That of Enum is a function in Python, and takes a good part of a small network's due step.
    __hash__ = object.__hash__

    def of(self, name: str) -> str:
        """Returns the name of a tensor for a message."""
        return self.value.format(name)


OF_LAYERS = (Quantity.INPUT, Quantity.ACTIVATION, Quantity.ACTIVATION_GRAD)

OF_MODEL = (Quantity.LOSS_TERM, Quantity.STEP_NORM)
"""Quantities of neither layers nor parameters: all of them are measured."""


class Scope(Enum):
    """Layers or parameters that a request without patterns is for."""

    DEFAULT = "activations, or leaf modules with parameters where there are none; parameters of two and more axes"
    ACTIVATIONS = "activations alone"
    BLOCKS = "the repeated blocks of a deep model"
    ALL = "everything"

    __hash__ = object.__hash__


class Request(NamedTuple):
    """Tensors and a statistic of them; equal requests are measured once.

    Attributes:
        quantity: Tensors that are measured.
        statistic: Statistic of each of them.
        patterns: Shell-style patterns for names and class names; None = the scope decides.
        scope: Choice where there are no patterns; with patterns, `ACTIVATIONS` leaves out what is no activation.
    """

    quantity: Quantity
    statistic: Statistic
    patterns: tuple[str, ...] | None = None
    scope: Scope = Scope.DEFAULT


class Key(NamedTuple):
    """Identifies one measurement of a step."""

    quantity: Quantity
    name: str
    """Display name of a layer or parameter; empty for the loss."""
    statistic: Statistic


def as_patterns(patterns: list[str] | None) -> tuple[str, ...] | None:
    """Returns an instrument's argument as that of a request."""
    return None if patterns is None else tuple(patterns)
