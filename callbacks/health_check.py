"""HealthCheck: a verdict on a training, with findings, places and remedies."""

from ._instrument import Instrument, Number
from .health.health_report import HealthReport
from .probe.measurements import Measurements
from .probe.request import Request


class HealthCheck(Instrument):
    """A verdict on a training. (Skeleton.)"""

    def __init__(
        self,
        every_n_steps: int = 100,
        dense_start: bool = True,
        layers: list[str] | None = None,
        params: list[str] | None = None,
        figures: bool = True,
        ignore: list[str] | None = None,
        expected_loss: float | None = None,
        on_fail: str = "report",
    ) -> None:
        super().__init__(every_n_steps, dense_start, layers, params, figures)
        self.ignore, self.expected_loss, self.on_fail = ignore, expected_loss, on_fail
        self.report = HealthReport()

    @property
    def requests(self) -> list[Request]:
        return []

    def record(self, measurements: Measurements) -> dict[str, Number]:
        return {}

    def what_is_missing(self, measurements: Measurements) -> str | None:
        return None
