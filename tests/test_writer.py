"""What stands in the loggers, read back as TensorBoard reads it."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fits import ALL, Numbers, Regression, every_step, fit, runtime_warnings, tanh_net
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event  # type: ignore
from torch import Tensor

from callbacks import ActivationHistogram, SaturationMap, UpdateRatio
from callbacks._histogram import Histogram
from callbacks._painter import Painter
from callbacks._publisher import Publisher
from callbacks._records import joined
from callbacks._schedule import Schedule
from callbacks._summary import summary_of_record
from callbacks._writer import Writer, event_file

pytestmark = pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
EVERYTHING = {"scalars": 0, "histograms": 0, "images": 0}


def events_in(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance=EVERYTHING)
    events.Reload()
    return events


def raw_events(folder: Path) -> list[Any]:
    return [Event.FromString(raw) for file in folder.glob("events*") for raw in RawEventFileLoader(str(file)).Load()]


class TestTensorBoard:
    def test_everything_of_a_step_is_one_event(self, tmp_path: Path) -> None:
        logger = TensorBoardLogger(tmp_path)
        fit(lambda: Regression(tanh_net()), every_step(figures=False), logger=logger)
        sizes = [len(event.summary.value) for event in raw_events(Path(logger.log_dir)) if event.summary.value]
        ours = [size for size in sizes if size > 1]
        assert len(ours) == 5  # of all four instruments

    def test_reads_back_what_latest_says(self, tmp_path: Path) -> None:
        logger, instruments = TensorBoardLogger(tmp_path), every_step()
        fit(lambda: Regression(tanh_net()), instruments, logger=logger)
        events = events_in(Path(logger.log_dir))
        for instrument in instruments:
            for tag, value in instrument.latest.items():  # type: ignore[attr-defined]
                if isinstance(value, Histogram):
                    last = events.Histograms(tag)[-1]
                    assert last.histogram_value.num == value.moments.count
                else:
                    last = events.Scalars(tag)[-1]
                    assert last.value == pytest.approx(value, rel=1e-6)
                assert last.step == 4

    def test_pictures(self, tmp_path: Path) -> None:
        logger = TensorBoardLogger(tmp_path)
        fit(lambda: Regression(tanh_net()), every_step(), logger=logger)
        events = events_in(Path(logger.log_dir))
        assert set(events.Tags()["images"]) == {
            *("activation_distribution", "activation_grad_distribution", "weight_grad_distribution", "update_ratio"),
            *("saturation_map/net.1", "saturation_map/net.3"),
        }
        for tag in events.Tags()["images"]:
            pictures = events.Images(tag)
            assert [picture.step for picture in pictures] == [0, 1, 4]
            assert (pictures[0].width, pictures[0].height) == (920, 360)

    def test_a_picture_of_the_last_due_step_in_the_end(self, tmp_path: Path) -> None:
        logger = TensorBoardLogger(tmp_path)
        fit(lambda: Regression(tanh_net()), [UpdateRatio(every_n_steps=3)], logger=logger, max_steps=11)
        assert [p.step for p in events_in(Path(logger.log_dir)).Images("update_ratio")] == [0, 3, 9]

    def test_a_logger_that_was_closed_opens_again(self, tmp_path: Path) -> None:
        """A fit closes its logger; the private way to its events tells here when it moves."""
        logger = TensorBoardLogger(tmp_path)
        for _ in range(2):
            fit(lambda: Regression(tanh_net()), [UpdateRatio(every_n_steps=4, figures=False)], logger=logger)
        steps = [event.step for event in events_in(Path(logger.log_dir)).Scalars("update_ratio/net.0.weight")]
        assert steps == [0, 1, 2, 4, 0, 1, 2, 4]
        assert event_file(logger) is not None

    def test_stays_small(self, tmp_path: Path) -> None:
        """`add_histogram` takes 9.8 kB."""
        record = {"activation/tanh": Histogram.of(torch.tanh(torch.randn(64_000) * 2))}
        assert summary_of_record(record).ByteSize() < 9800 / 5


class Pictures(Numbers):
    """One that takes pictures, too."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[tuple[str, tuple[int, ...], int]] = []

    def log_image(self, key: str, images: list[np.ndarray], step: int) -> None:
        self.images.append((key, images[0].shape, step))


class Full(Numbers):
    """One whose disk is full."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # type: ignore[override]
        raise OSError("No space left on device")


class TestOtherLoggers:
    def test_numbers_go_to_every_one(self, tmp_path: Path) -> None:
        numbers, pictures, csv = Numbers(), Pictures(), CSVLogger(tmp_path)
        instrument = ActivationHistogram(every_n_steps=2)
        fit(lambda: Regression(tanh_net()), [instrument], logger=[numbers, csv, pictures, TensorBoardLogger(tmp_path)])
        assert [step for step, _ in numbers.rows] == [0, 1, 2, 4]
        scalars = {tag: value for tag, value in (instrument.latest or {}).items() if isinstance(value, float)}
        assert numbers.rows[-1][1] == scalars
        assert pictures.rows == numbers.rows
        assert "activation_mean/net.1" in (Path(csv.log_dir) / "metrics.csv").read_text()

    def test_pictures_go_where_they_can(self) -> None:
        pictures = Pictures()
        fit(lambda: Regression(tanh_net()), [ActivationHistogram(every_n_steps=4)], logger=pictures)
        assert pictures.images == [("activation_distribution", (360, 920, 4), step) for step in (0, 4)]

    def test_one_that_fails_is_left_out_and_the_others_go_on(self) -> None:
        numbers = Numbers()
        with runtime_warnings() as warned:
            fit(lambda: Regression(tanh_net()), [ActivationHistogram(every_n_steps=1)], logger=[Full(), numbers])
        (said,) = warned
        assert said == "Full gets no more numbers of diagnostics. OSError: No space left on device Training goes on."
        assert len(numbers.rows) == 5

    def test_one_that_takes_no_picture_of_ours_keeps_its_numbers(self) -> None:
        class Other(Numbers):
            def log_image(self, image: object, name: str) -> None:
                pass

        other = Other()
        with runtime_warnings() as warned:
            fit(lambda: Regression(tanh_net()), [ActivationHistogram(every_n_steps=1)], logger=other)
        assert [said.split(" of ")[0] for said in warned] == ["Other gets no more pictures"]
        assert len(other.rows) == 5

    def test_one_that_breaks_keeps_no_instrument_from_looking(self) -> None:
        class Breaks(Numbers):
            def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # type: ignore[override]
                super().log_metrics(metrics, step)
                self.broken = True

            @property
            def experiment(self) -> None:
                if hasattr(self, "broken"):
                    raise RuntimeError("gone")

        instrument, breaks, numbers = ActivationHistogram(every_n_steps=1), Breaks(), Numbers()
        with runtime_warnings() as warned:
            fit(lambda: Regression(tanh_net()), [instrument], logger=[breaks, numbers])
        assert [said.split(" of ")[0] for said in warned] == ["Breaks gets no more numbers"]
        assert (instrument.latest_step, len(breaks.rows), len(numbers.rows)) == (4, 1, 5)

    def test_no_logger_at_all(self) -> None:
        writer = Writer()
        writer.collect({"a/b": 1.0}, 0)
        writer.send()


class Ends(Callback):
    """Ends the training in the middle of a step."""

    def __init__(self, how: BaseException) -> None:
        self.how = how

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step == 3:
            raise self.how


class Cadence(Callback):
    """Keeps how many rows a logger has when a step begins."""

    def __init__(self, logger: Numbers) -> None:
        self.logger = logger
        self.rows: list[int] = []

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        self.rows.append(len(self.logger.rows))


class ByHand(Regression):
    """Steps in manual optimization, in every second batch."""

    def __init__(self) -> None:
        super().__init__(tanh_net())
        self.automatic_optimization = False

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # type: ignore[override]
        self.manual_backward(super().training_step(batch, batch_idx))
        if batch_idx % 2:
            self.optimizers().step()  # type: ignore[union-attr]
            self.optimizers().zero_grad()  # type: ignore[union-attr]


class TestTogether:
    """All instruments of a step are written at once, and by its end."""

    def test_one_row_a_step(self) -> None:
        logger, instruments = Numbers(), every_step()
        cadence = Cadence(logger)
        fit(lambda: Regression(tanh_net()), [*instruments, cadence], logger=logger)
        assert cadence.rows == [0, 1, 2, 3, 4]
        assert [step for step, _ in logger.rows] == [0, 1, 2, 3, 4]
        records = [instrument.latest or {} for instrument in instruments]  # type: ignore[attr-defined]
        assert logger.rows[-1][1] == {t: v for record in records for t, v in record.items() if isinstance(v, float)}

    def test_of_instruments_that_look_at_other_steps(self) -> None:
        logger = Numbers()
        rare, often = ActivationHistogram(3, dense_start=False), UpdateRatio(2, dense_start=False)
        cadence = Cadence(logger)
        fit(lambda: Regression(tanh_net()), [often, rare, cadence], logger=logger, max_steps=7)
        assert [step for step, _ in logger.rows] == [0, 2, 3, 4, 6]
        assert cadence.rows == [0, 1, 1, 2, 3, 4, 4]
        with_activations = [step for step, row in logger.rows if "activation_mean/net.1" in row]
        assert with_activations == [0, 3, 6]

    @pytest.mark.parametrize("failing", ALL)
    def test_one_that_fails_keeps_nothing_of_the_others_back(
        self, failing: type, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        logger = Numbers()
        cadence = Cadence(logger)
        monkeypatch.setattr(failing, "_report", lambda *_: 1 / 0)
        with runtime_warnings():
            fit(lambda: Regression(tanh_net()), [*every_step(), cadence], logger=logger)
        assert cadence.rows == [0, 1, 2, 3, 4]
        written = {tag.split("/")[0] for tag in logger.rows[0][1]}
        assert len(written & {"activation_mean", "grad_norm", "update_ratio", "saturation"}) == 3

    @pytest.mark.parametrize("how", [RuntimeError("enough"), KeyboardInterrupt()], ids=lambda how: type(how).__name__)
    @pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (1, 2, 0)])
    def test_what_was_seen_is_written_when_training_ends_in_a_step(
        self, order: tuple[int, ...], how: BaseException
    ) -> None:
        logger = Numbers()
        callbacks = [Ends(how), ActivationHistogram(1, figures=False), UpdateRatio(1, figures=False)]
        with pytest.raises((RuntimeError, SystemExit, KeyboardInterrupt)):
            fit(lambda: Regression(tanh_net()), [callbacks[i] for i in order], logger=logger)
        rows = [{tag.split("/")[0] for tag in row} for step, row in logger.rows if step == 2]
        expected = {0: set(), 1: {"activation_mean", "activation_std"}, 2: {"update_ratio"}}
        seen = set().union(*(expected[i] for i in order[: order.index(0)]))
        assert rows == [seen] * bool(seen)

    def test_in_manual_optimization(self) -> None:
        logger = Numbers()
        cadence = Cadence(logger)
        fit(ByHand, [*every_step(), cadence], logger=logger, max_steps=2)
        assert [step for step, _ in logger.rows] == [0, 2]
        assert cadence.rows == [0, 0, 1, 1]

    def test_of_a_step_that_ends_with_the_next(self) -> None:
        class Skips(Regression):
            def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
                if batch_idx == 1:
                    optimizer_closure()
                else:
                    super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

        logger = Numbers()
        cadence = Cadence(logger)
        fit(lambda: Skips(tanh_net()), [*every_step(), cadence], logger=logger, max_epochs=1, max_steps=-1)
        assert [step for step, _ in logger.rows] == [0, 1, 2, 3, 4]
        assert cadence.rows == [0, 1, 2, 3, 4]  # by the time that the last callback is told of the next

    def test_a_step_does_not_wait_for_ever(self) -> None:
        logger = Numbers()
        writer = Writer([logger])
        for step in range(3):
            writer.collect({"a/b": float(step)}, step)
        assert logger.rows == [(0, {"a/b": 0.0}), (1, {"a/b": 1.0})]

    def test_the_larger_count_of_one_name_stands(self) -> None:
        for counts in ((3.0, 4.0), (4.0, 3.0)):
            one, other = ({"nonfinite/a": count} for count in counts)
            assert joined(one, {**other, "b/a": 1.0}) == {"nonfinite/a": 4.0, "b/a": 1.0}

    def test_two_of_a_class_are_written_apart(self) -> None:
        logger, two = Numbers(), [SaturationMap(5, threshold=threshold, figures=False) for threshold in (0.5, 0.9)]
        fit(lambda: Regression(tanh_net()), two, logger=logger)
        at_first = [row["saturation/net.1"] for step, row in logger.rows if step == 0]
        assert len(at_first) == 2
        assert at_first[0] > at_first[1]

    def test_a_second_fit_writes_to_its_own_logger(self) -> None:
        instruments, loggers = every_step(figures=False), [Numbers(), Numbers()]
        for logger in loggers:
            fit(lambda: Regression(tanh_net()), instruments, logger=logger)
        assert [[step for step, _ in logger.rows] for logger in loggers] == [[0, 1, 2, 3, 4]] * 2

    def test_one_that_another_callback_calls_writes_for_itself(self) -> None:
        class Around(Callback):
            def __init__(self) -> None:
                self.inner = UpdateRatio(every_n_steps=2, dense_start=False)

            def __getattribute__(self, name: str) -> Any:
                return (
                    getattr(object.__getattribute__(self, "inner"), name)
                    if name.startswith("on_")
                    else super().__getattribute__(name)
                )

        logger = Numbers()
        fit(lambda: Regression(tanh_net()), [Around()], logger=logger)
        assert [step for step, _ in logger.rows] == [0, 2, 4]
        logger = Numbers()
        fit(lambda: Regression(tanh_net()), [ActivationHistogram(2, dense_start=False), Around()], logger=logger)
        assert [(step, next(iter(row)).split("/")[0]) for step, row in logger.rows] == [
            (step, plot) for step in (0, 2, 4) for plot in ("activation_mean", "update_ratio")
        ]


class TestLoggersOfOthers:
    """The real ones, without a network."""

    def test_weights_and_biases(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_SILENT", "true")
        logger = WandbLogger(save_dir=tmp_path, offline=True)
        instruments = every_step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own
            fit(lambda: Regression(tanh_net()), instruments, logger=logger)
            summary = dict(logger.experiment.summary)
            logger.experiment.finish()
        for instrument in instruments:
            for tag, value in instrument.latest.items():  # type: ignore[attr-defined]
                if isinstance(value, Histogram):
                    assert sum(summary[tag]["values"]) == value.moments.count
                else:
                    assert summary[tag] == pytest.approx(value)
        assert summary["update_ratio"]["format"] == "png"

    def test_mlflow(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        monkeypatch.chdir(tmp_path)
        instrument = UpdateRatio(every_n_steps=4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own
            logger = MLFlowLogger(save_dir=str(tmp_path / "mlruns"))
            fit(lambda: Regression(tanh_net()), [instrument], logger=logger)
            client, run = logger.experiment, logger.run_id
            assert run is not None
            history = client.get_metric_history(run, "update_ratio/net.0.weight")
            pictures = [file.path for file in client.list_artifacts(run, "update_ratio")]
        assert [point.step for point in history] == [0, 1, 2, 4]
        assert history[-1].value == pytest.approx((instrument.latest or {})["update_ratio/net.0.weight"])
        assert pictures == [f"update_ratio/00000000{step}.png" for step in (0, 4)]


class TestPainter:
    def test_a_picture_that_fails_is_told(self) -> None:
        painter = Painter()
        painter.draw("tag", 0, lambda: 1 / 0)  # type: ignore[arg-type,return-value]
        with pytest.raises(ZeroDivisionError):
            list(painter.finished(wait=True))

    def test_while_it_is_behind_later_steps_have_no_pictures(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("callbacks._painter.MOST_WAITING", 2)
        monkeypatch.setattr("callbacks._publisher.Painter.finished", lambda *_: [])
        pictures = Pictures()
        publisher, drawn = Publisher(Writer([pictures]), Schedule(1, dense_start=False)), []
        monkeypatch.setattr(
            "callbacks._publisher.Painter.draw", lambda self, *what: self._waiting.append(drawn.append(what))
        )
        for step in (0, 1, 4):
            publisher.publish({}, step, lambda: dict.fromkeys("abc"))  # type: ignore[arg-type,return-value]
        assert [step for _, step, _ in drawn] == [0, 0, 0]  # all of one step, or none

    def test_ends_its_thread(self) -> None:
        painter = Painter()
        painter.draw("tag", 0, lambda: 1 / 0)  # type: ignore[arg-type,return-value]
        thread = painter._thread
        painter.close()
        painter.close()
        assert thread is not None
        assert thread._shutdown
