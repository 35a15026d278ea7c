"""Run: everything that the event files of one training hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .._card import lines_of


class Series(NamedTuple):
    """Numbers of one tag over steps, in ascending order of the steps."""

    steps: Sequence[int]
    values: Sequence[float]

    @property
    def last(self) -> float:
        """The last value."""
        return self.values[-1]


class Distribution(NamedTuple):
    """Histogram of one tag at one step.

    Attributes:
        step: Step on the axis of all plots.
        edges: `(n + 1,)` edges of the bins.
        counts: `(n,)` number of values in each.
    """

    step: int
    edges: Sequence[float]
    counts: Sequence[float]


class Image(NamedTuple):
    """Picture of one tag at one step, as PNG."""

    step: int
    png: bytes


@dataclass(frozen=True)
class Run:
    """Records of one training.

    Attributes:
        name: Name on the page.
        folder: Folder of its event files.
        numbers: Numbers by tag.
        distributions: Histograms by tag, in ascending order of the steps.
        images: Pictures by tag, in ascending order of the steps.
        health: `HealthReport.to_dict()`; None of a training without `HealthCheck`.
        settings: Hyperparameters and configuration, nested names joined by dots.
    """

    name: str
    folder: str
    numbers: Mapping[str, Series] = field(default_factory=dict)
    distributions: Mapping[str, Sequence[Distribution]] = field(default_factory=dict)
    images: Mapping[str, Sequence[Image]] = field(default_factory=dict)
    health: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Verdict of `HealthCheck`: "ok", "warn" or "fail"; "not judged" without it."""
        return "not judged" if self.health is None else str(self.health["verdict"])

    @property
    def summary(self) -> str:
        """The sentence of the verdict."""
        if self.health is None:
            return "not judged: HealthCheck was not among the callbacks."
        return str(self.health["summary"])

    def of_plot(self, plot: str) -> dict[str, Series]:
        """Returns the numbers of a plot by layer or parameter: of "saturation" those of `saturation/{layer}`."""
        lines = lines_of(self.numbers, plot)
        return {name: Series(*line) for name, line in lines.items()}
