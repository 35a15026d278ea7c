"""Tests of what all instruments share: tags, steps, copies, and traces in the model."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import (
    ALL,
    QUIET,
    Recorder,
    Regression,
    as_lists,
    every_step,
    expect_no_hooks,
    fit,
    loader,
    runtime_warnings,
    tanh_net,
)
from lightning.pytorch import Callback, Trainer
from tags import HISTOGRAMS, TAGS
from torch import Tensor, nn

import callbacks
from callbacks import (
    ActivationHistogram,
    Histogram,
    UpdateRatio,
)
from callbacks._instrument import Instrument

EACH = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
    ),
    pytest.mark.filterwarnings("ignore:`training_step` returned `None`"),
]


def test_every_public_instrument_is_tested() -> None:
    public = [getattr(callbacks, name) for name in callbacks.__all__]
    assert {
        kind
        for kind in public
        if isinstance(kind, type) and issubclass(kind, Instrument)
    } == set(ALL)


class TestLatest:
    @EACH
    def test_tags_are_those_of_the_contract(self, kind: Any) -> None:
        instrument = kind(every_n_steps=1)
        fit(lambda: Regression(tanh_net()), [instrument])
        assert set(instrument.latest) == TAGS[kind]
        for tag, value in instrument.latest.items():
            assert isinstance(
                value, Histogram if tag.partition("/")[0] in HISTOGRAMS else float
            ), tag

    @EACH
    def test_none_before_the_first_due_step(self, kind: Any) -> None:
        instrument = kind()
        assert (instrument.latest, instrument.latest_step) == (None, None)

    @EACH
    def test_steps_that_are_not_due_change_nothing(self, kind: Any) -> None:
        recorder = Recorder()
        fit(
            lambda: Regression(tanh_net()),
            [kind(every_n_steps=6, figures=False), recorder],
            max_steps=20,
        )
        assert list(recorder.records[kind.__name__]) == [0, 1, 2, 4, 6, 12, 18, 19]

    def test_instruments_of_different_schedules(self) -> None:
        """Each has a record of its own due steps, whichever of them passes Lightning's hooks on."""
        every = (3, 2, 1, 5, 6, 4)
        due = {kind.__name__: n for kind, n in zip(ALL, every, strict=True)}
        recorder = Recorder()
        instruments = [
            kind(every_n_steps=n, dense_start=False)
            for kind, n in zip(ALL, every, strict=True)
        ]
        fit(lambda: Regression(tanh_net()), [*instruments, recorder], max_steps=11)
        steps = {name: list(records) for name, records in recorder.records.items()}
        assert steps == {
            name: sorted({*range(0, 11, n), 10}) for name, n in due.items()
        }

    @EACH
    def test_records_are_those_of_the_instrument_alone(self, kind: Any) -> None:
        """Measurements that several instruments ask for are made once."""

        def records(*instruments: Callback) -> Any:
            recorder = Recorder()
            fit(lambda: Regression(tanh_net()), [*instruments, recorder])
            return as_lists(recorder.records[kind.__name__])

        assert records(*every_step(ALL)) == records(kind(every_n_steps=1))

    @EACH
    def test_a_second_fit_begins_anew(self, kind: Any) -> None:
        instrument = kind(every_n_steps=4, figures=False)
        _, module = fit(lambda: Regression(tanh_net()), [instrument])
        assert instrument.latest_step == 4
        fit(lambda: Regression(tanh_net()), [instrument], max_steps=2)
        assert instrument.latest_step == 1
        expect_no_hooks(module)


class FailsInBatch2(Regression):
    """Raises in the third batch."""

    def __init__(self, net: nn.Module, error: BaseException) -> None:
        super().__init__(net)
        self.error = error

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if batch_idx == 2:
            raise self.error
        return loss


class TestTraces:
    def test_after_fit(self) -> None:
        _, module = fit(lambda: Regression(tanh_net()), every_step())
        expect_no_hooks(module)

    @pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
    def test_after_an_exception_and_after_ctrl_c(self, error: BaseException) -> None:
        module = FailsInBatch2(tanh_net(), error)
        with pytest.raises((RuntimeError, SystemExit, KeyboardInterrupt)):
            fit(lambda: module, every_step())
        expect_no_hooks(module)

    @EACH
    def test_copies_and_pickles_in_the_middle_of_a_step(self, kind: Any) -> None:
        copies: list[Any] = []

        class Copies(Callback):
            def on_before_optimizer_step(
                self, trainer: Trainer, *_: Any, **__: Any
            ) -> None:
                instrument = next(c for c in trainer.callbacks if isinstance(c, kind))  # type: ignore[attr-defined]
                copies.extend(
                    [copy.deepcopy(instrument), pickle.loads(pickle.dumps(instrument))]
                )

        fit(
            lambda: Regression(tanh_net()),
            [kind(every_n_steps=1), Copies()],
            max_steps=2,
        )
        for copied in copies:
            fit(lambda: Regression(tanh_net()), [copied], max_steps=2)
            assert copied.latest_step == 1

    def test_an_instrument_in_two_trainers_at_a_time(self) -> None:
        """A fit inside a fit: the instrument goes on with the outer one, and says so."""
        instrument = ActivationHistogram(every_n_steps=1)
        inner_steps: list[int | None] = []

        class Inner(Callback):
            def on_train_batch_end(self, *_: Any, **__: Any) -> None:
                if not inner_steps:
                    Trainer(callbacks=[instrument], max_steps=2, **QUIET).fit(
                        Regression(tanh_net()), loader()
                    )
                    inner_steps.append(instrument.latest_step)

        with runtime_warnings() as messages:
            fit(lambda: Regression(tanh_net()), [instrument, Inner()])
        assert messages == [
            "ActivationHistogram observes another Trainer's fit, and nothing of this one: give each its own. "
            "Training goes on."
        ]
        assert inner_steps == [0]
        assert instrument.latest_step == 4


class TestCallsThatAreNotTraining:
    def test_validation_and_sanity_check(self) -> None:
        class Evaluating(Regression):
            def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
                with torch.enable_grad():
                    self(batch[0] * 1e6)

        def records(**options: Any) -> dict[str, Any]:
            recorder = Recorder()
            data = (
                {"val": loader(batch=20)} if "limit_val_batches" not in options else {}
            )
            fit(
                lambda: Evaluating(tanh_net()),
                [*every_step(figures=False), recorder],
                **data,
                **options,
            )
            return as_lists(recorder.records)

        assert records(num_sanity_val_steps=2, val_check_interval=1) == records(
            limit_val_batches=0
        )

    def test_a_forward_pass_without_gradients(self) -> None:
        class WithTeacher(Regression):
            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                with torch.no_grad():
                    self(batch[0])
                return super().training_step(batch, batch_idx)

        instrument = ActivationHistogram(every_n_steps=1)
        fit(lambda: WithTeacher(tanh_net()), [instrument])
        assert instrument.latest is not None
        assert instrument.latest["activation/net.1"].moments.count == 8 * 8  # type: ignore[union-attr]


class TestTrainers:
    @EACH
    def test_no_logger(self, kind: Any) -> None:
        instrument = kind(every_n_steps=1)
        fit(lambda: Regression(tanh_net()), [instrument], logger=False)
        assert set(instrument.latest) == TAGS[kind]

    @EACH
    def test_fast_dev_run(self, kind: Any) -> None:
        instrument = kind()
        fit(
            lambda: Regression(tanh_net()), [instrument], fast_dev_run=True, logger=True
        )
        assert instrument.latest_step == 0

    @EACH
    def test_barebones(self, kind: Any) -> None:
        instrument = kind()
        trainer = Trainer(
            barebones=True, callbacks=[instrument], max_steps=3, accelerator="cpu"
        )
        trainer.fit(Regression(tanh_net()), loader())
        assert instrument.latest_step == 2


def test_two_of_a_class_with_different_arguments(tmp_path: Path) -> None:
    def both() -> list[UpdateRatio]:
        return [
            UpdateRatio(every_n_steps=1, params=["net.0.*"]),
            UpdateRatio(every_n_steps=2, params=["net.2.*"]),
        ]

    trainer, _ = fit(lambda: Regression(tanh_net()), both(), default_root_dir=tmp_path)
    trainer.save_checkpoint(tmp_path / "both.ckpt")
    resumed = both()
    again = Trainer(callbacks=list(resumed), max_steps=7, **QUIET)
    again.fit(
        Regression(tanh_net()),
        loader(),
        ckpt_path=tmp_path / "both.ckpt",
        weights_only=True,
    )
    assert resumed[0].state_dict()["steps"] == [0, 1, 2, 3, 4, 5, 6]
    assert resumed[1].state_dict()["steps"] == [0, 1, 2, 4, 6]
    assert set(resumed[0].state_dict()["ratios"]) == {"net.0.weight", "net.0.bias"}
