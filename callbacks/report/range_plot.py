"""RangePlot: magnitudes of several tensors by octave, beside the ranges of floating point formats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..measure.bins import AROUND_ZERO, FIRST, LAST, STEPS
from ..measure.formats import FORMATS
from ..measure.histogram import Histogram
from .legend import choose_evenly, shorten_names

LONGEST_NAME = 24
"""Characters of a name beside a row."""

MOST_ROWS = 14
"""Rows whose names can be read, with those of the formats."""

FAINTEST = 1e-5
"""Fraction of the values that is still shown in an octave."""


@dataclass(frozen=True, slots=True)
class RangePlot:
    """Magnitudes by octave, a row a tensor, below a bar for each format.

    Attributes:
        title: Title of the figure.
        formats: Names of the formats.
        histograms: Values of each tensor, by its name.
    """

    figure: ClassVar[str] = "range_figure"
    title: str
    formats: Sequence[str]
    histograms: Mapping[str, Histogram]

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of `figures.range_figure`."""
        names = choose_evenly(list(self.histograms), MOST_ROWS - len(self.formats))
        fractions = np.array(
            [fractions_by_octave(self.histograms[name]) for name in names]
        )
        filled = np.flatnonzero(fractions.max(0, initial=0) > 0)
        first = FIRST - 1 + int(filled.min(initial=LAST - FIRST))
        bars = [
            (name, FORMATS[name].smallest, FORMATS[name].lowest, FORMATS[name].octaves)
            for name in self.formats
        ]
        shown = [bar for bar in bars if bar[1] >= FIRST]
        low = min([first, *(smallest for _, smallest, *_ in shown)]) - 1
        return {
            "title": self.title,
            "limits": (max(low, FIRST - 1), LAST + 1),
            "names": shorten_names(names, LONGEST_NAME),
            "shades": shades_of(fractions).tolist(),
            "first": FIRST - 1,
            "bars": bars,
        }


def fractions_by_octave(histogram: Histogram) -> NDArray[np.float64]:
    """Returns the fraction of the values in each octave, and in one more at each end; zeros are left out."""
    places = np.abs(histogram.bins - AROUND_ZERO)
    octaves = (places + STEPS - 1) // STEPS  # 0 is below 2**FIRST
    counts = np.bincount(octaves, histogram.counts, LAST - FIRST + 2)
    counts[0] -= histogram.zeros
    return counts / max(histogram.moments.count, 1)


def shades_of(fractions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns shades from 0, where there is nothing, to 1, on a logarithmic scale that shows the tails."""
    visible = np.maximum(fractions, FAINTEST / 2)
    shades = 1 - np.log10(visible) / np.log10(FAINTEST / 2)
    return np.where(fractions > 0, np.maximum(shades, 0.08), 0.0)
