"""Guard: keeps an exception of the observation out of the training that it observes."""

from collections.abc import Callable
from typing import Any

import torch


class Guard:
    """Calls functions until one of them raises.

    Attributes:
        error: The exception; None while nothing has gone wrong.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None

    def safely(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function; returns None if it raises, or if one did before."""
        if self.error is not None:
            return None
        try:
            # So that modes and tensor subclasses do not see what is done to measure.
            with torch._C.DisableTorchFunction():
                return function(*arguments)
        except Exception as error:
            self.error = error
            return None
