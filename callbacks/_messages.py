"""Errors for wrong arguments, and warnings that never end a training."""

import logging
import warnings

from ._lightning import MisconfigurationException

log = logging.getLogger(__name__)


class InstrumentError(MisconfigurationException, ValueError):
    """A wrong argument: the message says what was given, what was expected and what to do."""


def warn(message: str, training_goes_on: bool = True) -> None:
    """Issues a RuntimeWarning; where warnings are errors, logs it, for it must not end the training either.

    Args:
        message: One or more sentences.
        training_goes_on: False where something else has ended the training; else the message says that it goes on.
    """
    ending = "" if message.rstrip().endswith((".", "!", "?")) else "."
    message += ending + " Training goes on." * training_goes_on
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    except RuntimeWarning:
        log.warning(message)
