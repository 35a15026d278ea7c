"""Display of a verdict during a fit: the text page of loggers, and a word in the progress bar."""

from collections.abc import Callable
from typing import Any

from ._fit import Fit
from ._progress_bar import ProgressBarWord
from .health.health_report import HealthReport


class VerdictDisplay:
    """Shows the report of a fit while it grows.

    Args:
        fit: The fit.
        report: Returns the report up to now.
        has_page: Whether loggers get the text page.
    """

    def __init__(
        self, fit: Fit, report: Callable[[], HealthReport], has_page: bool
    ) -> None:
        self._fit, self._report, self._has_page = fit, report, has_page
        self._written: list[tuple[str, str, str]] | None = None
        self._bar_word: ProgressBarWord | None = None
        self._is_finished = False

    def add_word(self, bar: Any) -> None:
        """Adds the verdict to a progress bar; None = there is none."""
        if bar is not None:
            self._bar_word = ProgressBarWord(
                bar, "health", lambda: self._report().verdict
            )

    def remove_word(self) -> None:
        """Leaves the progress bar as it was; may be called any number of times."""
        if self._bar_word is not None:
            self._bar_word.remove()
            self._bar_word = None

    def update(self, step: int) -> None:
        """Writes the text page if places or severities are others than on the last one."""
        findings = self._report().findings
        places = [(each.rule, each.where, each.severity) for each in findings]
        if self._has_page and places != self._written:
            self._written = places
            self._write_page(step)

    def finish(self, step: int | None) -> bool:
        """Writes the last text page, once; returns whether this was the first call.

        Args:
            step: Last judged step; None without any.
        """
        if self._is_finished:
            return False
        self._is_finished = True
        if step is not None and self._has_page:
            self._write_page(step)
        return True

    def _write_page(self, step: int) -> None:
        report = self._report()
        self._fit.write_text("health", report.to_markdown(), step, report.to_json())
