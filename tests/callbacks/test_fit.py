"""Publishing: the records of all instruments of a step are written at once, and by its end."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fits import (
    ALL,
    ByHand,
    Numbers,
    Regression,
    every_step,
    fit,
    loader,
    runtime_warnings,
    tanh_net,
)
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from callbacks import ActivationHistogram, Histogram, SaturationMap, UpdateRatio

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)
EVERYTHING = {"scalars": 0, "histograms": 0, "images": 0}


def events_in(folder: str) -> EventAccumulator:
    events = EventAccumulator(folder, size_guidance=EVERYTHING)
    events.Reload()
    return events


class Interruption(Callback):
    """Ends the training in the middle of a step."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step == 3:
            raise self.error


class RowCount(Callback):
    """Notes the number of rows of a logger when a batch begins."""

    def __init__(self, logger: Numbers) -> None:
        self.logger = logger
        self.counts: list[int] = []

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        self.counts.append(len(self.logger.rows))


class EverySecondBatch(ByHand):
    """Accumulates two batches by hand."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
        optimizer: Any = self.optimizers()
        self.manual_backward(self.loss(batch))
        if batch_idx % 2:
            optimizer.step()
            optimizer.zero_grad()


def plots_in(row: dict[str, float]) -> set[str]:
    return {tag.split("/")[0] for tag in row}


def test_one_row_a_step() -> None:
    logger, instruments = Numbers(), every_step()
    row_count = RowCount(logger)
    fit(lambda: Regression(tanh_net()), [*instruments, row_count], logger=logger)
    assert row_count.counts == [0, 1, 2, 3, 4]
    assert [step for step, _ in logger.rows] == [0, 1, 2, 3, 4]
    records = [instrument.logged(instrument.latest) for instrument in instruments]  # type: ignore[attr-defined]
    scalars: dict[str, float] = {}
    for record in records:
        scalars |= {
            tag: value for tag, value in record.items() if isinstance(value, float)
        }
    assert logger.rows[-1][1] == scalars


def test_instruments_with_different_schedules() -> None:
    logger = Numbers()
    rare, frequent = (
        ActivationHistogram(3, dense_start=False),
        UpdateRatio(2, dense_start=False),
    )
    row_count = RowCount(logger)
    fit(
        lambda: Regression(tanh_net()),
        [frequent, rare, row_count],
        logger=logger,
        max_steps=7,
    )
    assert [step for step, _ in logger.rows] == [0, 2, 3, 4, 6]
    assert row_count.counts == [0, 1, 1, 2, 3, 4, 4]
    assert [step for step, row in logger.rows if "activation_mean/net.1" in row] == [
        0,
        3,
        6,
    ]


@pytest.mark.parametrize("failing", ALL, ids=lambda kind: kind.__name__)
def test_an_instrument_that_fails_holds_back_none_of_the_others(failing: type) -> None:
    class Failing(failing):  # type: ignore[misc]
        def record(self, measurements: Any) -> Any:
            raise ZeroDivisionError("by design")

    logger = Numbers()
    row_count = RowCount(logger)
    instruments = [
        instrument for instrument in every_step(ALL) if type(instrument) is not failing
    ]
    with runtime_warnings() as warned:
        fit(
            lambda: Regression(tanh_net()),
            [Failing(1), *instruments, row_count],
            logger=logger,
        )
    (message,) = warned
    assert message.startswith(
        "Failing failed in step 0 and is off until the next fit. ZeroDivisionError: by design."
    )
    assert row_count.counts == [0, 1, 2, 3, 4]
    first_of_each = {
        *("activation_mean", "grad_norm", "update_ratio", "saturation", "health"),
        "e5m2_subnormal",
    }
    assert len(plots_in(logger.rows[0][1]) & first_of_each) == len(ALL) - 1


@pytest.mark.parametrize(
    "error",
    [RuntimeError("enough"), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_measured_steps_are_written_when_training_ends_in_a_step(
    place: int, error: BaseException
) -> None:
    logger = Numbers()
    callbacks: list[Callback] = [
        ActivationHistogram(1, figures=False),
        UpdateRatio(1, figures=False),
    ]
    callbacks.insert(place, Interruption(error))
    with pytest.raises((RuntimeError, SystemExit, KeyboardInterrupt)):
        fit(lambda: Regression(tanh_net()), callbacks, logger=logger)
    rows = [plots_in(row) for step, row in logger.rows if step == 2]
    assert rows == [{"activation_mean", "activation_std", "update_ratio"}] * (place > 0)


def test_manual_optimization() -> None:
    logger = Numbers()
    row_count = RowCount(logger)
    fit(
        lambda: EverySecondBatch(tanh_net()),
        [*every_step(), row_count],
        logger=logger,
        max_steps=2,
    )
    assert [step for step, _ in logger.rows] == [0, 2]
    assert row_count.counts == [0, 0, 1, 1]


def test_a_step_whose_optimizer_is_never_asked_is_written_with_the_next() -> None:
    class Skipping(Regression):
        def optimizer_step(
            self,
            epoch: int,
            batch_idx: int,
            optimizer: Any,
            optimizer_closure: Any = None,
        ) -> None:
            if batch_idx == 1:
                optimizer_closure()
            else:
                super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    logger = Numbers()
    row_count = RowCount(logger)
    callbacks = [*every_step(), row_count]
    fit(
        lambda: Skipping(tanh_net()),
        callbacks,
        logger=logger,
        max_epochs=1,
        max_steps=-1,
    )
    assert [step for step, _ in logger.rows] == [0, 1, 2, 3, 4]
    assert row_count.counts == [0, 1, 2, 3, 4]


def test_two_of_a_class_are_written_apart() -> None:
    logger, two = (
        Numbers(),
        [
            SaturationMap(5, threshold=threshold, figures=False)
            for threshold in (0.5, 0.9)
        ],
    )
    fit(lambda: Regression(tanh_net()), two, logger=logger)
    lower, higher = [row["saturation/net.1"] for step, row in logger.rows if step == 0]
    assert lower > higher


def test_a_second_fit_writes_to_its_own_logger() -> None:
    instruments, loggers = every_step(figures=False), [Numbers(), Numbers()]
    for logger in loggers:
        fit(lambda: Regression(tanh_net()), instruments, logger=logger)
    assert [[step for step, _ in logger.rows] for logger in loggers] == [
        [0, 1, 2, 3, 4]
    ] * 2


class Wrapper(Callback):
    """Passes Lightning's hooks on to an instrument that the Trainer does not know."""

    def __init__(self) -> None:
        self.inner = UpdateRatio(every_n_steps=2, dense_start=False)

    def __getattribute__(self, name: str) -> Any:
        owner = (
            object.__getattribute__(self, "inner")
            if name.startswith("on_")
            else super()
        )
        return (
            getattr(owner, name)
            if name.startswith("on_")
            else super().__getattribute__(name)
        )


@pytest.mark.parametrize("beside", [[], [ActivationHistogram]])
def test_an_instrument_that_another_callback_wraps(beside: list[Any]) -> None:
    logger = Numbers()
    others = [kind(2, dense_start=False) for kind in beside]
    fit(lambda: Regression(tanh_net()), [*others, Wrapper()], logger=logger)
    assert [step for step, _ in logger.rows] == [0, 2, 4]
    assert all("update_ratio" in plots_in(row) for _, row in logger.rows)
    assert all(
        ("activation_mean" in plots_in(row)) == bool(beside) for _, row in logger.rows
    )


def test_tensorboard_reads_back_what_latest_says(tmp_path: Path) -> None:
    logger, instruments = TensorBoardLogger(tmp_path), every_step()
    fit(lambda: Regression(tanh_net()), instruments, logger=logger)
    events = events_in(logger.log_dir)
    for instrument in instruments:
        latest = instrument.latest  # type: ignore[attr-defined]
        for tag, value in instrument.logged(latest).items():  # type: ignore[attr-defined]
            if isinstance(value, Histogram):
                last = events.Histograms(tag)[-1]
                assert last.histogram_value.num == value.moments.count
            else:
                last = events.Scalars(tag)[-1]
                assert last.value == pytest.approx(value, rel=1e-6)
            assert last.step == 4


def test_pictures_of_all_instruments(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    fit(lambda: Regression(tanh_net()), every_step(), logger=logger)
    events = events_in(logger.log_dir)
    assert set(events.Tags()["images"]) == {
        "Overview",
        *(
            "activation_distribution",
            "activation_grad_distribution",
            "weight_grad_distribution",
            "update_ratio",
        ),
        *("saturation_map/net.1", "saturation_map/net.3"),
    }
    for tag in events.Tags()["images"]:
        # At step 0 a line of updates is a dot.
        steps = [1, 2, 4] if tag == "update_ratio" else [0, 1, 2, 4]
        assert [picture.step for picture in events.Images(tag)] == steps


def test_the_last_step_has_a_picture(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    fit(
        lambda: Regression(tanh_net()),
        [UpdateRatio(every_n_steps=3)],
        logger=logger,
        max_steps=11,
    )
    assert [
        picture.step for picture in events_in(logger.log_dir).Images("update_ratio")
    ] == [1, 2, 10]


def test_at_most_eight_maps_a_step_those_of_the_most_saturated_layers(
    tmp_path: Path,
) -> None:
    class Wide(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gains = range(12)
            self.layers = torch.nn.ModuleList(torch.nn.Tanh() for _ in self.gains)
            self.head = torch.nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            total = torch.zeros_like(x)
            for gain, layer in zip(self.gains, self.layers, strict=True):
                total = total + layer(x * gain)
            return self.head(total)

    logger = TensorBoardLogger(tmp_path)
    fit(
        lambda: Regression(Wide()),
        [SaturationMap(1)],
        logger=logger,
        max_steps=1,
        data=loader(),
    )
    maps = set(events_in(logger.log_dir).Tags()["images"]) - {"Overview"}
    assert maps == {f"saturation_map/net.layers.{index}" for index in range(4, 12)}
