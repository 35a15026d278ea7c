"""Overview: the one picture of a fit that shows all of its instruments together."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from .probe.measurements import Measurements
from .report.history import Series
from .report.overview_plot import OVERVIEW, overview_plot
from .report.plots import Plot


class Source(Protocol):
    """An instrument, as the overview needs it."""

    @property
    def figures(self) -> bool:
        """True if it draws figures."""
        ...

    @property
    def history(self) -> Mapping[str, Series]:
        """Numbers of all due steps by tag."""
        ...

    @property
    def summary(self) -> str:
        """One sentence on the training; "" of an instrument that judges nothing."""
        ...


class Overview:
    """Draws the numbers of all instruments of a fit in one picture, however many there are.

    Args:
        instruments: Instruments of the fit, of which more may join.
    """

    def __init__(self, instruments: Sequence[Source]) -> None:
        self._instruments = instruments

    @property
    def figures(self) -> bool:
        """True if an instrument draws figures; those that draw none are not shown."""
        return any(each.figures for each in self._instruments)

    def plots(self, measurements: Measurements) -> dict[str, Plot]:
        """Returns the picture of all steps up to this one, by its tag."""
        histories = [each.history for each in self._instruments if each.figures]
        summaries = [each.summary for each in self._instruments if each.summary]
        verdict = summaries[0] if summaries else ""
        plot = overview_plot(histories, verdict, measurements.step)
        return {} if plot is None else {OVERVIEW: plot}
