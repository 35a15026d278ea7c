"""Plot data of the overview: all layers at all steps of a fit, in one picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .._card import (
    HEAT_MAPS,
    NONFINITE,
    PROFILES,
    Line,
    Panel,
    Profile,
    panels_of,
    positive_limits,
    profile_of,
)
from .number_text import compact

OVERVIEW = "Overview"
"""Tag of the picture. The capital puts it first: TensorBoard sorts by characters, and "overview/..." are numbers."""

PREFIXES = tuple(f"{heat_map.plot}/" for heat_map in HEAT_MAPS)
"""Beginnings of the tags that the picture shows."""


@dataclass(frozen=True, slots=True, eq=False)
class OverviewPlot:
    """Heat maps of layers by steps, and the scale of layers over depth.

    Attributes:
        title: Title of the figure.
        numbers: Numbers over steps, by tag. The lists must not change any more.
    """

    figure: ClassVar[str] = "overview_figure"
    title: str
    numbers: Mapping[str, Line]

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of `figures.overview_figure`; log10 of numbers whose scale is logarithmic."""
        panels = panels_of(self.numbers)
        scales = [panel for panel in panels if panel.plot in PROFILES]
        profiles = [
            _profile(profile_of(self.numbers, panel.plot))
            for panel in scales
            if len(panel.layers) > 1
        ]
        others = [panel for panel in panels if panel not in scales]
        maps = [_heat_map(panel) for panel in scales]
        maps += [*profiles, *map(_heat_map, others)]
        return {"title": self.title, "panels": maps}


def overview_plot(
    histories: Sequence[Mapping[str, Line]], verdict: str, step: int
) -> OverviewPlot | None:
    """Returns the overview of a fit; None if nothing of it was measured.

    Args:
        histories: Numbers over steps by tag, of each instrument; of several with one tag the first is shown.
        verdict: Sentence on the training; "" = not judged.
        step: Last observed step.
    """
    numbers: dict[str, Line] = {}
    for history in histories:
        tags = [tag for tag in history if tag.startswith((*PREFIXES, f"{NONFINITE}/"))]
        numbers |= {tag: history[tag] for tag in tags if tag not in numbers}
    if not any(tag.startswith(PREFIXES) for tag in numbers):
        return None
    scales = f"layers (first on top) by steps 0 to {step}; dotted: first step"
    return OverviewPlot(f"{verdict}\n{scales}" if verdict else scales, numbers)


def _heat_map(panel: Panel) -> dict[str, Any]:
    grid, limits = panel.grid, np.array(panel.limits)
    return {
        "title": panel.title,
        "grid": _logs(grid) if panel.is_log else grid,
        "steps": [_short(step) for step in (panel.steps[0], panel.steps[-1])],
        "limits": _logs(limits) if panel.is_log else limits,
        "labels": _labels(panel.limits),
    }


def _profile(profile: Profile) -> dict[str, Any]:
    limits = positive_limits(np.array([*profile.first, *profile.last]))
    return {
        "title": profile.title,
        "first": _logs(np.array(profile.first)),
        "last": _logs(np.array(profile.last)),
        "limits": _logs(np.array(limits)),
        "labels": _labels(limits),
    }


def _logs(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns log10 of numbers; NaN, which is not drawn, of zero and of what is not finite."""
    is_drawn = np.isfinite(values) & (values > 0)
    return np.log10(values, out=np.full_like(values, np.nan), where=is_drawn)


def _short(step: int) -> str:
    """Returns a step as a text of up to five characters."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if step >= max(size, 10**5):
            return f"{step / size:.3g}{unit}"
    return f"{step}"


def _labels(limits: tuple[float, float]) -> list[str]:
    is_whole = all(limit in range(-9, 10) for limit in limits)
    return [f"{limit:.0f}" if is_whole else compact(limit) for limit in limits]
