"""FlightRecorder: keeps the last steps of a training, and writes them down when something goes wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ._instrument import check_flag
from ._lightning import Callback, LightningModule, Trainer, extend_bases
from ._messages import warn
from .probe.plan import Model
from .probe.selection import check_matches, check_patterns, class_name
from .probe.support import why_unsupported
from .recorder.bundle_writer import CONFIG, PAGE, BundleWriter
from .recorder.facts import facts_of
from .recorder.magnitudes import choose
from .recorder.options import Options
from .recorder.recording import Recording
from .recorder.trigger import Trigger

FOLDER = "flight_recorder"


class FlightRecorder(Callback):
    """The last steps of a training, written down as a bundle when something goes wrong in them.

    Of the last steps it keeps the loss, the norm of the gradients before and after clipping, the norm of each
    parameter's gradient, the largest magnitude of each layer's output, and the learning rate; of the last few batches
    references, and the random states before them. Numbers stay on the device, and no step waits for it.

    A bundle is written when the loss or a gradient is NaN or infinite, when the loss or the norm of the gradients
    jumps, and when training raises. On the CPU this is noticed before the parameters move, so that the bundle has the
    state that the step was computed from; on a device some steps later, so that it needs `state_every_n_steps`. While
    a gradient scaler is in use, gradients that are not finite are no reason: the scaler finds its scale by them. What
    a device has not sent yet, and the last update, are judged at the end of training.

    In manual optimization, gradients that a step clips itself are clipped before both norms. A learning rate that a
    method of the model sets after the gradients are complete is that of the next step.

    Writes, into a folder `flight_recorder/step_000123_nonfinite` (`_jump`, `_exception`):
        - `README.md`: what was out of line first, and where; the last steps; how to run that step again;
        - `ring.csv`, `ring.png`: numbers of the last steps;
        - `batches.pt`: the batch of the step, and its random states; those since the state's step, where that is an
          earlier one;
        - `state.pt`: parameters, buffers, optimizers, schedulers and the gradient scaler from before the step;
        - `bundle.json`: the same facts for programs, settings and versions; `config.yaml`, where the run has one.

    All of it is read with `torch.load(weights_only=True)`; `replay` runs the step again.

    Args:
        steps: Steps whose numbers are kept.
        batches: Batches that are kept as references; they stay in memory. Of an accumulation, at least those of two
            steps; on a device, of the steps whose numbers it may still be computing.
        layers: Shell-style patterns for the layers whose outputs are measured, by name or class name; None = those with
            parameters of their own, at most 64, evenly spread over depth.
        state_every_n_steps: Steps between copies of parameters and optimizers, on their device; None = no copies.
        loss_factor: The loss jumps if it is larger than this multiple of its running mean, and `deviations` above it;
            None = never.
        gradient_factor: The same for the norm of all gradients.
        deviations: Standard deviations above its running mean from which a number jumps.
        most_bundles: Bundles a run; the last of several is kept for NaN and exceptions.
        dirpath: Folder of the bundles; None = `flight_recorder` in the folder of the logger, or of the Trainer.
        figures: Whether to draw `ring.png`.

    Attributes:
        bundles: Paths of the bundles of this fit.

    Raises:
        ValueError: If an argument makes no sense, at once; if a pattern matches nothing, at the start of training.

    Source:
        Lightning's `SpikeDetection`; Kumar et al., "ZClip: Adaptive Spike Mitigation for LLM Pre-Training" (2025).

    Example:
        >>> import tempfile, torch
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> class Overflowing(BoringModel):
        ...     def training_step(self, batch, batch_idx):
        ...         return super().training_step(batch * 1e38 if batch_idx == 3 else batch, batch_idx)["loss"]
        >>> recorder = FlightRecorder(dirpath=tempfile.mkdtemp(), figures=False)
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> trainer = Trainer(callbacks=[recorder], max_steps=5, enable_checkpointing=False, **quiet)
        >>> import warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     trainer.fit(Overflowing())
        >>> recorder.bundles[0].name
        'step_000003_nonfinite'
    """

    def __init__(
        self,
        steps: int = 64,
        batches: int = 4,
        layers: list[str] | None = None,
        state_every_n_steps: int | None = None,
        loss_factor: float | None = 2.0,
        gradient_factor: float | None = 30.0,
        deviations: float = 10.0,
        most_bundles: int = 3,
        dirpath: str | None = None,
        figures: bool = True,
    ) -> None:
        extend_bases()
        super().__init__()
        check_patterns("layers", layers)
        self.layers, self.dirpath = layers, dirpath
        self.figures = check_flag("figures", figures)
        self.options = Options(
            steps,
            batches,
            state_every_n_steps,
            loss_factor,
            gradient_factor,
            deviations,
            most_bundles,
        )
        self.bundles: list[Path] = []
        # Lightning asks for the key at every hook of every step.
        self._state_key = f"{type(self).__qualname__}{[dirpath, layers, steps]}"
        self._reset()

    @property
    def state_key(self) -> str:
        """Tells two recorders apart in a checkpoint."""
        return self._state_key

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out what belongs to the fit that is going on: a copy begins its own."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._reset()
        return copy.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        extend_bases()
        self.__dict__.update(state)

    # Lightning's hooks.

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()
        self.bundles = []
        if self.layers is not None:
            model = Model(pl_module)
            check_matches(model.layers, self.layers, "layers", class_name)
        if (reason := why_unsupported(trainer)) is not None:
            warn(f"{type(self).__name__} {reason} It records nothing.")
            return
        # Asked of all ranks: a logger may send its folder from rank 0 to the others.
        self._run_folder = Path(trainer.log_dir or trainer.default_root_dir)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._run_folder is None:
            return
        layers = choose(pl_module, self.layers)
        self._recording = Recording(trainer, pl_module, layers, self.options)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._recording is not None:
            self._record(trainer, self._recording.begin_batch, batch, batch_idx)

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        if self._recording is not None:
            self._record(trainer, self._recording.before_backward, loss)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        if self._recording is not None:
            self._record(trainer, self._recording.before_optimizer_step, optimizer)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self._recording is not None:
            self._record(trainer, self._recording.end_batch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._recording is not None:
            self._record(trainer, self._recording.end)
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        # Not of Ctrl-C, nor of an exit, which are no faults.
        if self._recording is not None and isinstance(exception, Exception):
            self._record(trainer, self._recording.of_exception, exception)
        self._close()

    def teardown(
        self, trainer: Trainer, pl_module: LightningModule, stage: str
    ) -> None:
        if stage == "fit":
            self._close()

    def _reset(self) -> None:
        """Forgets what belongs to one fit."""
        self._recording: Recording | None = None
        self._run_folder: Path | None = None
        self._steps_written: set[int] = set()

    def _close(self) -> None:
        """Leaves nothing behind; may be called at any time, any number of times."""
        if self._recording is not None:
            self._recording.close()
        self._reset()

    def _record(
        self, trainer: Trainer, hook: Callable[..., Trigger | None], *arguments: Any
    ) -> None:
        """Passes a hook on to the recording; if that raises, the recorder is off, and training goes on."""
        try:
            trigger = hook(*arguments)
            if trigger is not None and self._is_to_be_written(trigger):
                self._write(trainer, trigger)
        except Exception as error:
            self._switch_off(f"failed: {type(error).__name__}: {error}")

    def _is_to_be_written(self, trigger: Trigger) -> bool:
        """True unless the step has a bundle, or there are enough; the last of several is for more than a jump."""
        most = self.options.most_bundles
        if trigger.kind == "jump":
            most = max(1, most - 1)
        return len(self.bundles) < most and trigger.step not in self._steps_written

    def _write(self, trainer: Trainer, trigger: Trigger) -> None:
        """Writes a bundle; the first that cannot be written is the last that is tried."""
        assert self._recording is not None
        assert self._run_folder is not None
        evidence = self._recording.evidence(trigger)
        self._steps_written |= {evidence.first.step, trigger.step}
        folder = Path(self.dirpath) if self.dirpath else self._run_folder / FOLDER
        module = trainer.lightning_module
        config = self._run_folder / CONFIG
        writer = BundleWriter(folder, facts_of(trainer, module), module, config)
        try:
            path = writer.write(evidence, last_checkpoint(trainer), self.figures)
        except OSError as error:
            reason = f"{type(error).__name__}: {error}"
            self._switch_off(f"cannot write a bundle to {folder}: {reason}")
            return
        self.bundles.append(path)
        message = f"FlightRecorder: {evidence.first.message} See {path / PAGE}"
        warn(message, training_goes_on=trigger.kind != "exception")

    def _switch_off(self, reason: str) -> None:
        warn(f"FlightRecorder {reason}. It is off until the next fit.")
        self._close()


def last_checkpoint(trainer: Trainer) -> str | None:
    """Returns the path of the last checkpoint of a fit; None before the first."""
    for callback in trainer.checkpoint_callbacks:
        path = getattr(callback, "last_model_path", "") or getattr(
            callback, "best_model_path", ""
        )
        if path:
            return str(path)
    return None
