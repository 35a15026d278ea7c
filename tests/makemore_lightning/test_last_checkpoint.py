"""Tests of LastCheckpoint: a stopped run resumes to the same weights, batches and metrics as one without stop."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from makemore_lightning import MakemoreModule, NamesDataModule
from makemore_lightning.last_checkpoint import LastCheckpoint

STEPS = 35  # three epochs of 11 batches, and two batches


class CrashError(Exception):
    """Ends a run without saving a checkpoint, like `kill -9`."""


class Record(Checkpoint):
    """Records batches and validation losses, and stops the run at a step.

    A subclass of Checkpoint, because Lightning runs these after all other callbacks.

    Args:
        stop_at: Step at which to stop; None = never.
        stop_signal: Signal to raise; None = raise CrashError.
    """

    def __init__(
        self, stop_at: int | None = None, stop_signal: signal.Signals | None = None
    ) -> None:
        self.stop_at, self.stop_signal = stop_at, stop_signal
        self.batches: list[tuple[int, int, int, list[int]]] = []
        self.validations: list[tuple[int, float]] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.batches.append(
            (trainer.global_step, trainer.current_epoch, batch_idx, batch[1].tolist())
        )
        if trainer.global_step == self.stop_at:
            self.stop_at = None
            if self.stop_signal is None:
                raise CrashError
            signal.raise_signal(self.stop_signal)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validations.append(
            (trainer.global_step, float(trainer.callback_metrics["val/loss"]))
        )


class Momentum(MakemoreModule):
    """Module with optimizer state, and a schedule that does not depend on the length of the run."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 13, gamma=0.5)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


class Run:
    """A fit with a log folder of its own."""

    def __init__(self, folder: Path, names: Path, **arguments: Any) -> None:
        self.folder, self.names = folder, names
        self.sampling = arguments.pop("sampling", "replacement")
        self.val_check_interval = arguments.pop("val_check_interval", 7)
        self.callbacks = arguments.pop("callbacks", [])
        self.log_every_n_steps = arguments.pop("log_every_n_steps", 1)
        self.arguments = arguments

    def fit(
        self, steps: int = STEPS, record: Record | None = None, resume: bool = False
    ) -> tuple[Momentum, Record]:
        seed_everything(1, verbose=False)
        module, record = (
            Momentum(hidden_sizes=(20,), batchnorm=True),
            record or Record(),
        )
        trainer = Trainer(
            accelerator="cpu",
            max_steps=steps,
            logger=CSVLogger(self.folder, name="run", version="v"),
            callbacks=[*self.callbacks, LastCheckpoint(), record],
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=self.log_every_n_steps,
            val_check_interval=min(self.val_check_interval, steps),
            check_val_every_n_epoch=None,
            **self.arguments,
        )
        data = NamesDataModule(
            str(self.names), sampling=self.sampling, eval_batch_size=10
        )
        trainer.fit(module, data, ckpt_path=str(self.last) if resume else None)
        return module, record

    @property
    def last(self) -> Path:
        return self.folder / "run" / "v" / "checkpoints" / "last.ckpt"


def assert_same_weights(expected: Momentum, module: Momentum) -> None:
    weights = module.state_dict()
    for name, value in expected.state_dict().items():
        assert torch.equal(value, weights[name]), name


def assert_same_end(
    uninterrupted: tuple[Momentum, Record],
    stopped: Record,
    resumed: tuple[Momentum, Record],
    from_step: int,
) -> None:
    """Compares a run that was stopped and resumed at `from_step` with a run without stop."""
    expected_module, expected = uninterrupted
    resumed_module, record = resumed
    assert_same_weights(expected_module, resumed_module)
    assert record.batches == [
        batch for batch in expected.batches if batch[0] >= from_step
    ]
    # A stopped run is validated once more.
    regular = [point for point in stopped.validations if point in expected.validations]
    before = [point for point in regular if point[0] <= from_step]
    assert before + record.validations == expected.validations


pytestmark = pytest.mark.filterwarnings(
    "ignore:Experiment logs directory .* exists:UserWarning",
    "ignore:Checkpoint directory .* exists:UserWarning",
)
SAMPLING = pytest.mark.parametrize("sampling", ["replacement", "shuffle"])
# First step, within an epoch, at a validation, last batch of an epoch, first batch of the next, last step.
STOPS = pytest.mark.parametrize("stop_at", [1, 5, 7, 10, 11, 12, 20, 21, 22, 34])


@SAMPLING
@STOPS
@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM])
def test_signal(
    tmp_path: Path,
    few_names: Path,
    sampling: str,
    stop_at: int,
    stop_signal: signal.Signals,
) -> None:
    uninterrupted = Run(tmp_path / "uninterrupted", few_names, sampling=sampling).fit()
    run, record = (
        Run(tmp_path / "stopped", few_names, sampling=sampling),
        Record(stop_at, stop_signal),
    )
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(SIGTERMException) as exit_info:
        run.fit(record=record)
    assert exit_info.value.code == 128 + stop_signal
    assert (
        signal.getsignal(signal.SIGINT),
        signal.getsignal(signal.SIGTERM),
    ) == handlers
    assert torch.load(run.last, weights_only=True)["global_step"] == stop_at + 1
    assert record.validations[-1][0] == stop_at + 1
    assert_same_end(uninterrupted, record, run.fit(resume=True), stop_at + 1)


@SAMPLING
@STOPS
@pytest.mark.parametrize("val_check_interval", [1, 5, 11])
def test_crash(
    tmp_path: Path,
    few_names: Path,
    sampling: str,
    stop_at: int,
    val_check_interval: int,
) -> None:
    options: dict[str, Any] = {
        "sampling": sampling,
        "val_check_interval": val_check_interval,
    }
    uninterrupted = Run(tmp_path / "uninterrupted", few_names, **options).fit()
    run, record = Run(tmp_path / "stopped", few_names, **options), Record(stop_at)
    with pytest.raises(CrashError):
        run.fit(record=record)
    # The file is saved one step after a validation.
    last_validation = (stop_at - 1) // val_check_interval * val_check_interval
    if last_validation == 0:
        assert not run.last.exists()
        return
    assert_same_end(uninterrupted, record, run.fit(resume=True), last_validation + 1)


@SAMPLING
@pytest.mark.parametrize("steps", [5, 11, 12, 21, 22])
def test_a_finished_run_resumes_with_more_steps(
    tmp_path: Path, few_names: Path, sampling: str, steps: int
) -> None:
    uninterrupted = Run(tmp_path / "uninterrupted", few_names, sampling=sampling).fit()
    run = Run(tmp_path / "short", few_names, sampling=sampling)
    _, record = run.fit(steps)
    assert_same_end(uninterrupted, record, run.fit(resume=True), steps)


class StepAxis(Callback):
    """Records the step that Lightning gives to metrics, which a logger draws on its horizontal axis."""

    def __init__(self) -> None:
        self.points: list[tuple[int, int]] = []

    def on_train_batch_start(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        steps = trainer.fit_loop.epoch_loop._batches_that_stepped
        self.points.append((trainer.global_step, steps))


@pytest.mark.parametrize("steps", [5, 7, 11, 14])
def test_another_length_keeps_the_step_axis(
    tmp_path: Path, few_names: Path, steps: int
) -> None:
    """A validation was due at the end of the first run, and is not due at that step in the second."""
    Run(tmp_path, few_names, val_check_interval=steps).fit(steps)
    axis = StepAxis()
    run = Run(tmp_path, few_names, val_check_interval=100, callbacks=[axis])
    run.fit(20, resume=True)
    assert axis.points == [(step, step) for step in range(steps, 20)]


def test_the_file_knows_the_last_validation(tmp_path: Path, few_names: Path) -> None:
    best = ModelCheckpoint(monitor="val/loss", filename="best")
    run = Run(tmp_path, few_names, val_check_interval=100, callbacks=[best])
    _, record = run.fit(12)
    states = torch.load(run.last, weights_only=True)["callbacks"]
    (score,) = [
        state["best_model_score"]
        for name, state in states.items()
        if "best" in state.get("best_model_path", "")
    ]
    assert score == pytest.approx(record.validations[-1][1])


def test_the_mean_loss_goes_on_after_a_stop(tmp_path: Path, few_names: Path) -> None:
    run = Run(tmp_path, few_names, log_every_n_steps=10)
    with pytest.raises(SIGTERMException):
        run.fit(record=Record(12, signal.SIGINT))
    # Steps 11 and 12: the point of the stop, at step 12, begins no new mean.
    assert torch.load(run.last, weights_only=True)["running_loss"]["count"] == 2


def test_signal_during_gradient_accumulation(tmp_path: Path, few_names: Path) -> None:
    uninterrupted, _ = Run(
        tmp_path / "uninterrupted", few_names, accumulate_grad_batches=3
    ).fit(12)
    run = Run(tmp_path / "stopped", few_names, accumulate_grad_batches=3)
    with pytest.raises(SIGTERMException):
        run.fit(12, Record(5, signal.SIGINT))
    resumed, _ = run.fit(12, resume=True)
    assert_same_weights(uninterrupted, resumed)


def test_comparison_fails_without_the_sampler_state(
    tmp_path: Path, few_names: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted = Run(tmp_path / "uninterrupted", few_names).fit()
    run, record = Run(tmp_path / "stopped", few_names), Record(15, signal.SIGINT)
    with pytest.raises(SIGTERMException):
        run.fit(record=record)
    monkeypatch.setattr(
        "makemore_lightning.batches.TrainingBatches.load_state_dict",
        lambda self, state: None,
    )
    with pytest.raises(AssertionError):
        assert_same_end(uninterrupted, record, run.fit(resume=True), 16)


def test_an_exception_does_not_overwrite_the_file(
    tmp_path: Path, few_names: Path
) -> None:
    run = Run(tmp_path, few_names)
    with pytest.raises(CrashError):
        run.fit(record=Record(17))
    assert torch.load(run.last, weights_only=True)["global_step"] == 15


def test_a_second_signal_ends_the_run_at_once(few_names: Path) -> None:
    class Twice(Callback):
        def on_train_batch_start(self, *_: Any, **__: Any) -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    trainer = Trainer(
        accelerator="cpu",
        max_steps=3,
        logger=False,
        enable_progress_bar=False,
        default_root_dir=few_names.parent,
        callbacks=[LastCheckpoint(), Twice()],
    )
    # A background process of a shell ignores SIGINT; this test needs Python's default handler.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as exit_info:
            trainer.fit(Momentum(), NamesDataModule(str(few_names)))
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning leaves SIGINT ignored
    assert exit_info.value.code == 1
