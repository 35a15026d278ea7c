"""One fit: joins the probe that measures, the instruments that make records, and the reporter that writes them."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary, ref

from ._lightning import LightningModule, Trainer
from ._messages import warn
from ._overview import Overview, Source
from .probe.length import last_step, step_of
from .probe.measurements import Measurements
from .probe.probe import Probe
from .probe.request import Request
from .probe.schedule import Schedule
from .report.event_points import select_pictures
from .report.plots import Plot
from .report.record import Record
from .report.reporter import Reporter

FITS: WeakKeyDictionary[Trainer, "Fit"] = WeakKeyDictionary()
"""The fit that each Trainer is in: its instruments share one."""


class Drawn(Protocol):
    """Source of pictures: an instrument, or the overview of all."""

    @property
    def figures(self) -> bool:
        """True if it draws any."""
        ...

    def plots(self, measurements: Measurements) -> dict[str, Plot]:
        """Returns what is drawn of a step."""
        ...


class Subscriber(Source, Drawn, Protocol):
    """An instrument, as a fit needs it."""

    schedule: Schedule

    @property
    def requests(self) -> Sequence[Request]:
        """Measurements that it asks for."""
        ...

    def observe(self, measurements: Measurements) -> Record:
        """Returns what is written to loggers of a step."""
        ...


class Fit:
    """All instruments of one Trainer's fit.

    The first of them that joins is the leader: it passes Lightning's hooks on to the probe, for all.

    Args:
        trainer: The Trainer, at the start of fit.
        module: Its LightningModule.
    """

    def __init__(self, trainer: Trainer, module: LightningModule) -> None:
        self.trainer = ref(trainer)
        self.instruments: list[Subscriber] = []
        self.probe = Probe(trainer, module)
        self._is_writer = trainer.is_global_zero
        self._reporter = Reporter(trainer.loggers if self._is_writer else [])
        self._overview = Overview(self.instruments)
        self._undrawn: dict[Drawn, tuple[int, Callable[[], dict[str, Plot]]]] = {}
        self._pictures = select_pictures()
        self._silent: set[Drawn] = set()
        self.last_step: int | None = None
        self._told_of_nonfinite = False

    @classmethod
    def join(
        cls, trainer: Trainer, module: LightningModule, instrument: Subscriber
    ) -> "Fit":
        """Adds an instrument to a Trainer's fit.

        Raises:
            InstrumentError: If one of its patterns matches nothing.
        """
        fit = FITS.get(trainer)
        if fit is None:
            fit = cls(trainer, module)
        fit.probe.check_patterns(instrument.requests)
        fit.instruments.append(instrument)
        FITS[trainer] = fit
        return fit

    def is_due(self, step: int) -> bool:
        """True if a step is due for any instrument; the last step of a fit is due for all."""
        return any(self._is_due_for(each, step) for each in self.instruments)

    def _is_due_for(self, instrument: Subscriber, step: int) -> bool:
        return step == self.last_step or instrument.schedule.is_due(step)

    def begin_training(self) -> None:
        """Estimates the last step, once the number of batches is known."""
        self._estimate_last_step(batches=0)

    def observe(
        self, hook: Callable[..., Measurements | None], *arguments: Any
    ) -> None:
        """Passes one of Lightning's hooks on to the probe, and publishes the step that ends with it."""
        try:
            measurements = hook(*arguments)
        except Exception as error:
            self.probe.give_up(error)
            return
        if measurements is not None:
            self._publish(measurements)

    def requests_at(self, step: int) -> list[Request]:
        """Returns the requests of the instruments that are due at a step, each once."""
        requests: dict[Request, None] = {}
        for instrument in self._due_at(step):
            requests |= dict.fromkeys(instrument.requests)
        return list(requests)

    def write_text(self, tag: str, text: str, step: int, data: str = "") -> None:
        """Writes Markdown to the loggers that show text, and the same as JSON."""
        self._reporter.write_text(tag, text, step, data)

    def tell_of_nonfinite(self, message: str) -> None:
        """Warns once a fit of where NaN or Inf began."""
        if not self._told_of_nonfinite and self._is_writer:
            warn(f"Training diagnostics: {message}")
        self._told_of_nonfinite = True

    def end_training(self) -> None:
        """Publishes what is left, with a picture of the last step, and waits for pictures."""
        self.observe(self.probe.end_training)
        # The overview first: where the time to wait runs out, the last pictures are left out.
        undrawn = sorted(
            self._undrawn.items(), key=lambda item: item[0] is not self._overview
        )
        for source, (step, plots) in undrawn:
            self._draw(source, step, plots)
        self._undrawn.clear()
        self._reporter.finish()

    def close(self) -> None:
        """Leaves nothing behind; may be called at any time, any number of times."""
        self.probe.close()
        self._reporter.close()
        for trainer in [trainer for trainer, fit in FITS.items() if fit is self]:
            del FITS[trainer]

    def _due_step(self, measurements: Measurements) -> int:
        due_step = measurements.due_step
        return measurements.step if due_step is None else due_step

    def _due_at(self, step: int) -> list[Subscriber]:
        return [
            instrument
            for instrument in self.instruments
            if self._is_due_for(instrument, step) and instrument not in self._silent
        ]

    def _estimate_last_step(self, batches: int) -> None:
        if (trainer := self.trainer()) is not None:
            automatic = self.probe.context.automatic
            self.last_step = last_step(trainer, automatic, batches)

    def _publish(self, measurements: Measurements) -> None:
        self._tell_of_nonfinite(measurements)
        records: list[Record] = []
        for instrument in self._due_at(self._due_step(measurements)):
            record = self._attempt(
                instrument, measurements.step, instrument.observe, measurements
            )
            if record is not None:
                records.append(record)
                self._schedule_plots(instrument, measurements)
        if records and self._overview not in self._silent:
            self._schedule_plots(self._overview, measurements)
        self._reporter.write(records, measurements.step)
        if not self.probe.context.automatic and (trainer := self.trainer()) is not None:
            # How many optimizer steps a batch takes shows only now.
            self._estimate_last_step(batches=step_of(trainer) + 1)

    def _schedule_plots(self, source: Drawn, measurements: Measurements) -> None:
        """Draws the plots that are due; keeps the others for the end of training."""
        if not (source.figures and self._reporter.takes_pictures):
            return

        def plots() -> dict[str, Plot]:
            return source.plots(measurements)

        self._undrawn[source] = measurements.step, plots
        if self._pictures.takes(source, measurements.step):
            del self._undrawn[source]
            self._draw(source, measurements.step, plots)

    def _draw(
        self, source: Drawn, step: int, plots: Callable[[], dict[str, Plot]]
    ) -> None:
        drawn = self._attempt(source, step, plots)
        if drawn is not None:
            self._reporter.draw(drawn, step)

    def _attempt(
        self,
        source: Drawn,
        step: int,
        function: Callable[..., Any],
        *arguments: Any,
    ) -> Any:
        """Calls a function of an instrument; if that raises, the instrument is off, and training goes on."""
        try:
            return function(*arguments)
        except Exception as error:
            self._silent.add(source)
            self._undrawn.pop(source, None)
            cause = f"{type(error).__name__}: {error}"
            warn(
                f"{type(source).__name__} failed in step {step} and is off until the next fit. {cause}"
            )
            return None

    def _tell_of_nonfinite(self, measurements: Measurements) -> None:
        """Warns once a fit, of the place where NaN or Inf began."""
        if self._told_of_nonfinite or not self._is_writer:
            return
        first = measurements.first_nonfinite()
        if first is not None:
            key, count = first
            place = f"{key.quantity.of(key.name)} ({count} of its values)"
            self.tell_of_nonfinite(
                f"NaN or Inf in step {measurements.step}, first in the {place}."
            )
