"""Errors for wrong arguments, and warnings that never end a training."""

import logging
import warnings

from ._lightning import MisconfigurationException

log = logging.getLogger(__name__)


class InstrumentError(MisconfigurationException, ValueError):
    """A wrong argument: the message says what was given, what was expected and what to do."""


def warn(message: str) -> None:
    """Issues a RuntimeWarning; where warnings are errors, logs it, for it must not end the training either.

    Args:
        message: One or more sentences.
    """
    ending = "" if message.rstrip().endswith((".", "!", "?")) else "."
    message = f"{message}{ending} Training goes on."
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    except RuntimeWarning:
        log.warning(message)
