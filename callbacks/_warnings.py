"""How an instrument says that something is wrong."""

import logging
import warnings

log = logging.getLogger(__name__)


def warn(said: str) -> None:
    """Warns, and never raises: where warnings are errors, this one must not end the training either.

    Args:
        said: A sentence.
    """
    said = f"{said} Training goes on."
    try:
        warnings.warn(said, RuntimeWarning, stacklevel=3)
    except RuntimeWarning:
        log.warning(said)
