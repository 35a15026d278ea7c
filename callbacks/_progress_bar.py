"""A word in the progress bar of Lightning, whichever it is."""

from collections.abc import Callable
from typing import Any


class ProgressBarWord:
    """Entry of a progress bar, attached for the time of a fit.

    `ProgressBar.get_metrics` is the method that Lightning means to be overridden for more entries; here it is replaced
    on the one bar of a Trainer, since `self.log` takes numbers only and would write them to loggers, too.

    Args:
        bar: Progress bar of the Trainer.
        name: Name of the entry.
        word: Returns what it shows.
    """

    def __init__(self, bar: Any, name: str, word: Callable[[], str]) -> None:
        self._bar, self._name, self._word = bar, name, word
        self._get_metrics = bar.get_metrics
        bar.get_metrics = self._with_word

    def _with_word(self, *arguments: Any) -> dict[str, Any]:
        return {**self._get_metrics(*arguments), self._name: self._word()}

    def remove(self) -> None:
        """Leaves the progress bar as it was; may be called any number of times."""
        if vars(self._bar).get("get_metrics") == self._with_word:
            del self._bar.get_metrics
