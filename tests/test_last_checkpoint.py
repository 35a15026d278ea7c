"""Whatever ends a run, and wherever, it goes on as if it had never stopped."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from makemore_lightning import MakemoreModule, NamesDataModule
from makemore_lightning.last_checkpoint import LastCheckpoint

STEPS = 35  # three epochs of 11 batches and two more


class CrashError(Exception):
    """Ends a run as `kill -9` would: nothing is saved after it."""


class Record(Checkpoint):
    """Notes what the run did, and stops it in a given way at a given step. A Checkpoint, so that it comes last."""

    def __init__(self, stop_at: int | None = None, how: signal.Signals | None = None) -> None:
        self.stop_at, self.how = stop_at, how
        self.batches: list[tuple[int, int, int, list[int]]] = []
        self.validations: list[tuple[int, float]] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.batches.append((trainer.global_step, trainer.current_epoch, batch_idx, batch[1].tolist()))
        if trainer.global_step == self.stop_at:
            self.stop_at = None
            if self.how is None:
                raise CrashError
            signal.raise_signal(self.how)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validations.append((trainer.global_step, float(trainer.callback_metrics["val/loss"])))


class Momentum(MakemoreModule):
    """With state in the optimizer, and a schedule that does not depend on the length of the run."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 13, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Run:
    """One fit in a folder of its own."""

    def __init__(self, folder: Path, names: Path, **arguments: Any) -> None:
        self.folder, self.names = folder, names
        self.sampling = arguments.pop("sampling", "replacement")
        self.val_check_interval = arguments.pop("val_check_interval", 7)
        self.arguments = arguments

    def fit(self, steps: int = STEPS, record: Record | None = None, resume: bool = False) -> tuple[Momentum, Record]:
        seed_everything(1, verbose=False)
        module, record = Momentum(hidden_sizes=(20,), batchnorm=True), record or Record()
        trainer = Trainer(
            accelerator="cpu",
            max_steps=steps,
            logger=CSVLogger(self.folder, name="run", version="v"),
            callbacks=[LastCheckpoint(), record],
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            val_check_interval=min(self.val_check_interval, steps),
            check_val_every_n_epoch=None,
            **self.arguments,
        )
        data = NamesDataModule(str(self.names), sampling=self.sampling)
        trainer.fit(module, data, ckpt_path=str(self.last) if resume else None)
        return module, record

    @property
    def last(self) -> Path:
        return self.folder / "run" / "v" / "checkpoints" / "last.ckpt"


def assert_same_end(
    whole: tuple[Momentum, Record], stopped: Record, resumed: tuple[Momentum, Record], from_step: int
) -> None:
    for name, value in whole[0].state_dict().items():
        assert torch.equal(value, resumed[0].state_dict()[name]), name
    assert resumed[1].batches == [batch for batch in whole[1].batches if batch[0] >= from_step]
    before = [point for point in stopped.validations if point[0] <= from_step]
    assert before + resumed[1].validations == whole[1].validations


pytestmark = pytest.mark.filterwarnings(
    "ignore:Experiment logs directory .* exists:UserWarning", "ignore:Checkpoint directory .* exists:UserWarning"
)
SAMPLING = pytest.mark.parametrize("sampling", ["replacement", "shuffle"])
# The first step, within an epoch, at a validation, the last batch of an epoch, the first of the next, the last step.
STOPS = pytest.mark.parametrize("stop_at", [1, 5, 7, 10, 11, 12, 20, 21, 22, 34])


@SAMPLING
@STOPS
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop(tmp_path: Path, few_names: Path, sampling: str, stop_at: int, how: signal.Signals) -> None:
    whole = Run(tmp_path / "whole", few_names, sampling=sampling).fit()
    run, record = Run(tmp_path / "stopped", few_names, sampling=sampling), Record(stop_at, how)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(SIGTERMException) as stopped:
        run.fit(record=record)
    assert stopped.value.code == 128 + how
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert torch.load(run.last, weights_only=True)["global_step"] == stop_at + 1
    assert_same_end(whole, record, run.fit(resume=True), stop_at + 1)


@SAMPLING
@STOPS
@pytest.mark.parametrize("val_check_interval", [1, 5, 11])
def test_killed(tmp_path: Path, few_names: Path, sampling: str, stop_at: int, val_check_interval: int) -> None:
    options: dict[str, Any] = {"sampling": sampling, "val_check_interval": val_check_interval}
    whole = Run(tmp_path / "whole", few_names, **options).fit()
    run, record = Run(tmp_path / "stopped", few_names, **options), Record(stop_at)
    with pytest.raises(CrashError):
        run.fit(record=record)
    last_validation = stop_at // val_check_interval * val_check_interval
    if last_validation == 0:
        assert not run.last.exists()
        return
    assert_same_end(whole, record, run.fit(resume=True), last_validation)


@SAMPLING
@pytest.mark.parametrize("steps", [5, 11, 12, 21, 22])
def test_a_finished_run_goes_on_for_longer(tmp_path: Path, few_names: Path, sampling: str, steps: int) -> None:
    whole = Run(tmp_path / "whole", few_names, sampling=sampling).fit()
    run = Run(tmp_path / "short", few_names, sampling=sampling)
    _, record = run.fit(steps)
    record.validations = [point for point in record.validations if point in whole[1].validations]
    assert_same_end(whole, record, run.fit(resume=True), steps)


def test_stops_between_two_updates_when_gradients_accumulate(tmp_path: Path, few_names: Path) -> None:
    whole = Run(tmp_path / "whole", few_names, accumulate_grad_batches=3).fit(12)
    run = Run(tmp_path / "stopped", few_names, accumulate_grad_batches=3)
    with pytest.raises(SIGTERMException):
        run.fit(12, Record(5, signal.SIGINT))
    resumed = run.fit(12, resume=True)
    for name, value in whole[0].state_dict().items():
        assert torch.equal(value, resumed[0].state_dict()[name]), name


def test_a_dropped_sampler_state_would_be_noticed(
    tmp_path: Path, few_names: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Run(tmp_path / "whole", few_names).fit()
    run, record = Run(tmp_path / "stopped", few_names), Record(15, signal.SIGINT)
    with pytest.raises(SIGTERMException):
        run.fit(record=record)
    monkeypatch.setattr("makemore_lightning.batches.TrainingBatches.load_state_dict", lambda self, state: None)
    with pytest.raises(AssertionError):
        assert_same_end(whole, record, run.fit(resume=True), 16)


def test_an_error_does_not_overwrite_it(tmp_path: Path, few_names: Path) -> None:
    run = Run(tmp_path, few_names)
    with pytest.raises(CrashError):
        run.fit(record=Record(17))
    assert torch.load(run.last, weights_only=True)["global_step"] == 14


def test_the_second_signal_ends_at_once(few_names: Path) -> None:
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
    # A process that a shell starts in the background ignores Ctrl-C.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended:
            trainer.fit(Momentum(), NamesDataModule(str(few_names)))
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores Ctrl-C from there on
    assert ended.value.code == 1
