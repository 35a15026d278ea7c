"""Instrument: the Lightning callback that all diagnostics are, with their arguments, schedule and numbers."""

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer

from ._fit import Fit
from ._lightning import Callback, LightningModule, Trainer, extend_bases
from ._messages import InstrumentError, warn
from .measure.histogram import Histogram
from .probe.length import step_of
from .probe.measurements import Measurements
from .probe.request import Request
from .probe.schedule import Schedule
from .probe.selection import check_patterns
from .probe.support import why_unsupported
from .report.history import History
from .report.notebook import draw_plot, plot_of
from .report.plots import Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Number = float | Histogram


class Instrument(Callback):
    """A diagnostic of a training: asks for measurements of the due steps, and makes records and plots of them.

    A subclass defines `requests`, `record` and, where there is something to draw, `plots`.

    Args:
        every_n_steps: A step is due when it is a multiple of this, in training steps.
        dense_start: Whether steps 1, 2, 4, 8, ... below `every_n_steps` are due as well.
        layers: Shell-style patterns for a layer's name or class name; None = the default choice.
        params: Shell-style patterns for a parameter's name; None = the default choice.
        figures: Whether to draw pictures.
    """

    unused_argument: str | None = None
    """Name of the common argument that an instrument has no use for."""

    def __init__(
        self,
        every_n_steps: int = 100,
        dense_start: bool = True,
        layers: list[str] | None = None,
        params: list[str] | None = None,
        figures: bool = True,
    ) -> None:
        extend_bases()
        super().__init__()
        check_patterns("layers", layers)
        check_patterns("params", params)
        self.schedule = Schedule(every_n_steps, check_flag("dense_start", dense_start))
        self.layers, self.params = layers, params
        self.figures = check_flag("figures", figures)
        self.latest: dict[str, Number] | None = None
        self.latest_step: int | None = None
        self.history = History()
        # Lightning asks for the key at every hook of every step.
        self._state_key = f"{type(self).__qualname__}{[every_n_steps, dense_start, layers, params, figures]}"
        self._last_plots: dict[str, Plot] = {}
        self._warn_of_unused({"layers": layers, "params": params})
        self._reset()

    @property
    def requests(self) -> Sequence[Request]:
        """Measurements of a due step."""
        raise NotImplementedError

    def record(self, measurements: Measurements) -> dict[str, Number]:
        """Returns what is written of a step, by tag."""
        raise NotImplementedError

    def plots(self, measurements: Measurements) -> dict[str, Plot]:
        """Returns what is drawn of a step, by tag."""
        return {}

    def what_is_missing(self, measurements: Measurements) -> str | None:
        """Returns what could not be measured, and what to do; None if nothing is missing, or it was told before."""
        raise NotImplementedError

    def logged(self, record: dict[str, Number]) -> dict[str, Number]:
        """Returns the part of a record that loggers get; `latest` and `history` have all of the record."""
        return record

    def observe(self, measurements: Measurements) -> dict[str, Number]:
        """Makes the record of a step, keeps it as `latest` and in `history`, and returns what loggers get."""
        record = self.record(measurements) | self._count_nonfinite(measurements)
        self._tell_once(self.what_is_missing(measurements))
        self.latest, self.latest_step = record, measurements.step
        self._measurements = measurements
        self.history.add(measurements.step, record)
        return self.logged(record)

    @property
    def summary(self) -> str:
        """One sentence on the training, which the overview shows; "" of an instrument that judges nothing."""
        return ""

    def figure(self, tag: str) -> "Figure":
        """Draws what a tag shows, for a notebook or a script.

        Args:
            tag: Tag of a picture or a histogram, of the last due step, or of a number, over all due steps.

        Returns:
            A `matplotlib.figure.Figure`, which has nothing to do with pyplot; `figure.savefig("file.png")` writes it.

        Raises:
            ValueError: If there is nothing of that tag, with a list of what there is; or without matplotlib.
        """
        plot = plot_of(
            tag,
            self._current_plots(),
            self.latest or {},
            self.latest_step,
            self.history,
        )
        return draw_plot(plot)

    @property
    def state_key(self) -> str:
        """Tells two instruments of one class apart in a checkpoint."""
        return self._state_key

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out what belongs to the fit that is going on: a copy begins its own."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._reset()
        return copy.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Makes a copy a callback of the process that it is unpickled in, whose Trainer may be another package's."""
        extend_bases()
        self.__dict__.update(state)

    def _reset(self) -> None:
        """Forgets what belongs to one fit."""
        self._fit: Fit | None = None
        self._is_leader = False
        self._rank = 0
        self._told_of_missing = False
        self._with_nonfinite: set[str] = set()
        self._measurements: Measurements | None = None

    # Lightning's hooks.

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_elsewhere(trainer):
            warn(
                f"{type(self).__name__} observes another Trainer's fit, and nothing of this one: give each its own."
            )
            return
        self._reset()
        self.latest = self.latest_step = None
        self.history, self._last_plots = History(), {}
        self._rank = trainer.global_rank
        if (reason := why_unsupported(trainer)) is not None:
            self._warn(f"{type(self).__name__} {reason} It records nothing.")
            return
        self._fit = Fit.join(trainer, pl_module, self)
        self._is_leader = self._fit.instruments[0] is self

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (fit := self._leads(trainer)) is not None:
            fit.begin_training()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if (fit := self._leads(trainer)) is not None:
            step = step_of(trainer)
            if fit.probe.observes or fit.is_due(step):
                fit.observe(fit.probe.begin_batch, step, fit.requests_at)
            elif fit.is_due(step + 1) and not pl_module.automatic_optimization:
                fit.observe(fit.probe.note_batch, step)

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        if (fit := self._leads(trainer)) is not None and fit.probe.observes:
            fit.observe(fit.probe.before_backward, loss)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (fit := self._leads(trainer)) is not None and fit.probe.observes:
            fit.observe(fit.probe.after_backward)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        if (fit := self._leads(trainer)) is not None and fit.probe.observes:
            fit.observe(fit.probe.before_optimizer_step, optimizer)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if (fit := self._leads(trainer)) is not None and fit.probe.observes:
            fit.observe(fit.probe.end_batch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (fit := self._leads(trainer)) is not None:
            fit.observe(fit.probe.end_epoch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (fit := self._leads(trainer)) is not None:
            fit.end_training()

    def teardown(
        self, trainer: Trainer, pl_module: LightningModule, stage: str
    ) -> None:
        if stage == "fit":
            self._close(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._close(trainer)

    def _leads(self, trainer: Trainer) -> Fit | None:
        """Returns the fit whose hooks this instrument passes on; None if another one does."""
        fit = self._fit
        return (
            fit
            if fit is not None and self._is_leader and fit.trainer() is trainer
            else None
        )

    def _is_elsewhere(self, trainer: Trainer) -> bool:
        """True while another Trainer's fit goes on with this instrument."""
        observed = None if self._fit is None else self._fit.trainer()
        return (
            observed is not None
            and observed is not trainer
            and observed.state.status == "running"
        )

    def _close(self, trainer: Trainer) -> None:
        """Leaves nothing behind; may be called at any time, any number of times."""
        if self._is_elsewhere(trainer):
            return
        if self._fit is not None:
            self._fit.close()
        # Plots are kept, and not the measurements, which would keep the model in memory.
        with contextlib.suppress(Exception):
            self._last_plots = self._current_plots()
        self._reset()

    def _current_plots(self) -> dict[str, Plot]:
        """Returns the plots of the last due step."""
        if self._measurements is None:
            return self._last_plots
        return self.plots(self._measurements)

    def _count_nonfinite(self, measurements: Measurements) -> dict[str, Number]:
        """Counts NaN and Inf by layer or parameter, of those that have ever had one.

        Where several tensors of one name are measured, as a parameter and its gradient, the larger count stands.
        """
        if not (measurements.has_nonfinite or self._with_nonfinite):
            return {}
        counts: dict[str, float] = {}
        for request in self.requests:
            for name, result in measurements.of(request).items():
                counts[name] = max(counts.get(name, 0.0), float(result.nonfinite))
        self._with_nonfinite |= {name for name, count in counts.items() if count}
        return {
            f"nonfinite/{name}": count
            for name, count in counts.items()
            if name in self._with_nonfinite
        }

    def _warn_of_unused(self, arguments: dict[str, list[str] | None]) -> None:
        argument = self.unused_argument
        if argument is not None and arguments[argument] is not None:
            warn(
                f"{type(self).__name__} has no use for {argument}={arguments[argument]!r}, and ignores it."
            )

    def _tell_once(self, missing: str | None) -> None:
        if missing is not None and not self._told_of_missing:
            self._told_of_missing = True
            self._warn(f"{type(self).__name__} {missing}")

    def _warn(self, message: str) -> None:
        if self._rank == 0:
            warn(message)


def check_flag(name: str, flag: bool) -> bool:
    """Returns an argument that is True or False.

    Raises:
        InstrumentError: If it is neither.
    """
    if not isinstance(flag, bool):
        raise InstrumentError(f"{name} must be True or False, got {flag!r}")
    return flag


def check_threshold(threshold: float) -> float:
    """Returns a saturation threshold.

    Raises:
        InstrumentError: If no output of tanh is of that magnitude.
    """
    if (
        isinstance(threshold, bool)
        or not isinstance(threshold, int | float)
        or not 0 < threshold < 1
    ):
        raise InstrumentError(
            f"threshold must be an output of tanh between 0 and 1, such as 0.99, got {threshold!r}"
        )
    return threshold
