"""Tests of MakemoreModule: steps, logged metrics, schedules and checkpoints."""

import copy
import logging
import math
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.cli import ReduceLROnPlateau
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from makemore_lightning import InputError, MakemoreModule, NamesDataModule
from makemore_lightning.batches import EvaluationBatches

DEFAULTS: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 5,
}


def make_trainer(folder: Path, **arguments: Any) -> Trainer:
    return Trainer(**{**DEFAULTS, "default_root_dir": folder, **arguments})


def fit(
    folder: Path, names: Path, module: MakemoreModule | None = None, **arguments: Any
) -> Trainer:
    seed_everything(1, verbose=False)
    trainer = make_trainer(folder, **arguments)
    trainer.fit(
        module or MakemoreModule(hidden_sizes=(20,)), NamesDataModule(str(names))
    )
    return trainer


def module_of(trainer: Trainer) -> MakemoreModule:
    assert isinstance(trainer.lightning_module, MakemoreModule)
    return trainer.lightning_module


def read_events(logger: TensorBoardLogger) -> EventAccumulator:
    return EventAccumulator(logger.log_dir).Reload()


def test_one_step_equals_the_notes_step(tmp_path: Path, few_names: Path) -> None:
    seed_everything(1, verbose=False)
    module, data = MakemoreModule(init="naive"), NamesDataModule(str(few_names))
    data.setup("fit")
    module.build(data.vocabulary, data.block_size)
    contexts, targets = next(iter(data.train_dataloader()))
    parameters = {
        name: p.detach().clone().requires_grad_()
        for name, p in module.named_parameters()
    }
    logits = torch.func.functional_call(module, parameters, (contexts,))
    loss = -torch.log_softmax(logits, 1)[torch.arange(32), targets].mean()
    loss.backward()

    make_trainer(tmp_path, max_steps=1).fit(module, data)
    for name, after in module.named_parameters():
        before = parameters[name]
        assert before.grad is not None
        torch.testing.assert_close(after.detach(), before.detach() - 0.1 * before.grad)


class RecordingModule(MakemoreModule):
    """Records the loss of every batch."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(hidden_sizes=(20,), **arguments)
        self.losses: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.losses.append(loss.item())
        return loss


Points = list[tuple[int, float]]


def scalars(logger: TensorBoardLogger, tag: str) -> Points:
    return [(event.step, event.value) for event in read_events(logger).Scalars(tag)]


def make_logger(folder: Path) -> TensorBoardLogger:
    return TensorBoardLogger(folder, name="x", version="v", default_hp_metric=False)


class TestTrainMetrics:
    @pytest.fixture
    def logger(self, tmp_path: Path) -> TensorBoardLogger:
        return make_logger(tmp_path)

    def fit(
        self, logger: TensorBoardLogger, names: Path, **arguments: Any
    ) -> RecordingModule:
        module = RecordingModule()
        folder = Path(logger.save_dir)
        fit(folder, names, module, logger=logger, **arguments)
        return module

    def test_dense_at_the_start_and_the_last_step(
        self, logger: TensorBoardLogger, few_names: Path
    ) -> None:
        losses = self.fit(logger, few_names, max_steps=13).losses
        assert scalars(logger, "train/loss") == [
            (step, pytest.approx(losses[step])) for step in (0, 1, 2, 4, 5, 10, 12)
        ]

    def test_tags(self, logger: TensorBoardLogger, few_names: Path) -> None:
        self.fit(logger, few_names, max_steps=3)
        tags = read_events(logger).Tags()["scalars"]
        names = (
            "loss",
            "loss_log10",
            "loss_mean",
            "lr",
            "bits_per_character",
            "perplexity",
            "accuracy",
        )
        assert {tag for tag in tags if tag.startswith("train/")} == {
            f"train/{name}" for name in names
        }
        assert "epoch" not in tags

    def test_mean_is_that_of_all_steps_since_the_point_before(
        self, logger: TensorBoardLogger, few_names: Path
    ) -> None:
        losses = self.fit(logger, few_names, max_steps=13).losses
        windows = {0: (0, 1), 4: (3, 5), 10: (6, 11), 12: (11, 13)}
        points = dict(scalars(logger, "train/loss_mean"))
        for step, (start, stop) in windows.items():
            assert points[step] == pytest.approx(mean(losses[start:stop])), step

    def test_log10_and_learning_rate(
        self, logger: TensorBoardLogger, few_names: Path
    ) -> None:
        losses = self.fit(logger, few_names, max_steps=10).losses
        assert dict(scalars(logger, "train/loss_log10"))[4] == pytest.approx(
            math.log10(losses[4])
        )
        rates = dict(scalars(logger, "train/lr"))
        assert (rates[4], rates[5]) == (pytest.approx(0.1), pytest.approx(0.01))

    def test_accumulated_batches_are_one_point(
        self, logger: TensorBoardLogger, few_names: Path
    ) -> None:
        losses = self.fit(
            logger, few_names, max_steps=6, accumulate_grad_batches=2
        ).losses
        assert [step for step, _ in scalars(logger, "train/loss")] == [0, 1, 2, 4, 5]
        # The point of a step is that of its first batch; the mean includes every batch once.
        assert dict(scalars(logger, "train/loss_mean"))[2] == pytest.approx(
            mean(losses[3:5])
        )

    @pytest.mark.parametrize(
        "arguments", [{"max_epochs": 1}, {"max_steps": 100, "max_epochs": 1}]
    )
    def test_last_step_of_an_epoch(
        self, logger: TensorBoardLogger, few_names: Path, arguments: dict[str, int]
    ) -> None:
        self.fit(logger, few_names, **arguments)
        assert scalars(logger, "train/loss")[-1][0] == 10

    def test_last_step_of_a_fit_that_is_stopped(
        self, logger: TensorBoardLogger, few_names: Path
    ) -> None:
        self.fit(logger, few_names, max_steps=100, callbacks=[StopAt(8)])
        assert scalars(logger, "train/loss")[-1][0] == 7


def test_a_subclass_may_have_a_training_step_of_its_own(
    tmp_path: Path, few_names: Path
) -> None:
    class OwnStep(MakemoreModule):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            contexts, targets = batch
            return torch.nn.functional.cross_entropy(self(contexts), targets)

    trainer = fit(tmp_path, few_names, OwnStep(hidden_sizes=(20,)), max_steps=3)
    assert trainer.global_step == 3


class StopAt(Callback):
    """Stops the fit after a number of steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        trainer.should_stop = trainer.global_step == self.step


class TestValidation:
    def points(self, folder: Path, names: Path, **arguments: Any) -> list[int]:
        """Runs a fit and returns the steps at which it was validated."""
        logger = make_logger(folder)
        module = MakemoreModule(hidden_sizes=(20,))
        module.validations = arguments.pop("validations", None)
        fit(folder, names, module, logger=logger, **arguments)
        return [step for step, _ in scalars(logger, "val/loss")]

    @pytest.mark.parametrize(
        ("arguments", "steps"),
        [
            ({"max_steps": 100}, [0, 24, 49, 74, 99]),
            ({"max_steps": 30}, [0, 7, 15, 23, 29]),
            ({"max_steps": 3}, [0, 0, 1, 2]),
            ({"max_epochs": 2}, [0, 5, 11, 17, 21]),
            ({"max_steps": 1000, "max_epochs": 2}, [0, 5, 11, 17, 21]),
            ({"max_steps": 1000, "callbacks": [StopAt(7)]}, [0, 6]),
        ],
    )
    def test_before_between_and_after(
        self,
        tmp_path: Path,
        few_names: Path,
        arguments: dict[str, Any],
        steps: list[int],
    ) -> None:
        assert steps == self.points(
            tmp_path, few_names, validations=4, num_sanity_val_steps=-1, **arguments
        )

    def test_accumulated_batches(self, tmp_path: Path, few_names: Path) -> None:
        points = self.points(
            tmp_path,
            few_names,
            validations=4,
            max_steps=50,
            accumulate_grad_batches=2,
        )
        assert len(points) == 4
        assert points[-1] == 49

    def test_a_fit_ends_with_one_whatever_the_interval(
        self, tmp_path: Path, few_names: Path
    ) -> None:
        points = self.points(
            tmp_path,
            few_names,
            max_steps=10,
            val_check_interval=7,
            check_val_every_n_epoch=None,
        )
        assert points == [6, 9]

    def test_the_first_does_not_change_the_training(
        self, tmp_path: Path, few_names: Path
    ) -> None:
        weights = []
        for batches in (0, -1):
            module = MakemoreModule(hidden_sizes=(20,), batchnorm=True)
            fit(tmp_path, few_names, module, max_steps=20, num_sanity_val_steps=batches)
            weights.append(module.state_dict())
        assert all(
            torch.equal(weights[0][name], weights[1][name]) for name in weights[0]
        )

    def test_hparams_metric_equals_the_last(
        self, tmp_path: Path, few_names: Path
    ) -> None:
        logger = make_logger(tmp_path)
        fit(tmp_path, few_names, logger=logger, max_steps=10)
        ((step, loss),) = scalars(logger, "final/val_loss")
        assert (step, loss) == (10, scalars(logger, "val/loss")[-1][1])


class TestInitialLoss:
    def message(self, caplog: pytest.LogCaptureFixture) -> str:
        (message,) = [
            record.message
            for record in caplog.records
            if record.message.startswith("initial loss")
        ]
        return message

    @pytest.fixture
    def caplog(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> pytest.LogCaptureFixture:
        """Captures messages of Lightning, whose logger does not propagate to the root."""
        monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "propagate", True)
        caplog.set_level(logging.INFO, "lightning.pytorch")
        return caplog

    @pytest.mark.parametrize("batchnorm", [False, True])
    def test_is_that_of_all_training_rows(
        self,
        tmp_path: Path,
        few_names: Path,
        caplog: pytest.LogCaptureFixture,
        batchnorm: bool,
    ) -> None:
        seed_everything(1, verbose=False)
        data = NamesDataModule(str(few_names))
        data.setup("fit")
        module = MakemoreModule(init="naive", hidden_sizes=(20,), batchnorm=batchnorm)
        module.build(data.vocabulary, data.block_size)
        contexts, targets = data.windows("train")
        network = copy.deepcopy(module.network)
        expected = torch.nn.functional.cross_entropy(network(contexts), targets).item()
        make_trainer(tmp_path, max_steps=1).fit(module, data)
        assert module.initial_loss == pytest.approx(expected, rel=1e-5)
        size = len(data.vocabulary)
        assert self.message(caplog) == (
            f"initial loss {expected:.2f} (knowing nothing: ln {size} = {math.log(size):.2f})"
        )

    def test_changes_no_running_statistics(
        self, tmp_path: Path, few_names: Path
    ) -> None:
        module = MakemoreModule(hidden_sizes=(20,), batchnorm=True)
        fit(tmp_path, few_names, module, max_steps=1)
        state = module.state_dict()
        assert state["network.hidden.batchnorm0.num_batches_tracked"] == 1

    def test_a_resumed_run_keeps_it_and_says_where_it_goes_on(
        self, tmp_path: Path, few_names: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = save_checkpoint(tmp_path, few_names)
        first = torch.load(path, weights_only=True)["initial_loss"]
        caplog.clear()
        module, data = (
            MakemoreModule(hidden_sizes=(20,)),
            NamesDataModule(str(few_names)),
        )
        make_trainer(tmp_path, max_steps=6).fit(module, data, ckpt_path=path)
        assert module.initial_loss == first
        assert "Going on after step 5." in caplog.messages
        assert not [text for text in caplog.messages if text.startswith("initial")]


def test_every_logger_receives_the_metrics(tmp_path: Path, few_names: Path) -> None:
    loggers = [
        CSVLogger(tmp_path, name="a", version="v"),
        CSVLogger(tmp_path, name="b", version="v"),
    ]
    fit(tmp_path, few_names, logger=loggers, max_steps=6)
    for logger in loggers:
        assert "train/loss" in (Path(logger.log_dir) / "metrics.csv").read_text()


def test_evaluation_covers_all_rows_for_any_batch_size(
    tmp_path: Path, few_names: Path
) -> None:
    trainer = fit(tmp_path, few_names, max_steps=5)
    module = module_of(trainer)
    data = NamesDataModule(str(few_names))
    data.setup("test")
    windows = data.windows("val")
    expected_loss = torch.nn.functional.cross_entropy(
        module(windows.contexts), windows.targets
    ).item()
    for batch_size in (7, 1000):
        (result,) = trainer.validate(
            module, EvaluationBatches(windows, batch_size), verbose=False
        )
        assert result["val/loss"] == pytest.approx(expected_loss, rel=1e-5)
        assert result["val/bits_per_character"] == pytest.approx(
            expected_loss / math.log(2), rel=1e-5
        )
        assert result["val/perplexity"] == pytest.approx(
            math.exp(expected_loss), rel=1e-5
        )


def learning_rates(
    folder: Path, names: Path, module: MakemoreModule, **arguments: Any
) -> list[float]:
    """Runs a fit and returns the learning rate of each batch."""
    rates: list[float] = []
    step = module.training_step

    def training_step(batch: Any, batch_idx: int) -> torch.Tensor:
        rates.append(module.trainer.optimizers[0].param_groups[0]["lr"])
        return step(batch, batch_idx)

    module.training_step = training_step  # type: ignore[method-assign]
    fit(folder, names, module, **arguments)
    return rates


@pytest.mark.parametrize("limit", [{"max_steps": 22}, {"max_epochs": 2}])
@pytest.mark.parametrize(("lr_drop", "before"), [(0.5, 11), (0.75, 16), (1.0, 22)])
def test_learning_rate_drops_to_a_tenth_at_a_fraction_of_the_run(
    tmp_path: Path,
    few_names: Path,
    limit: dict[str, int],
    lr_drop: float,
    before: int,
) -> None:
    module = MakemoreModule(lr_drop=lr_drop)
    rates = learning_rates(tmp_path, few_names, module, **limit)
    assert rates == [0.1] * before + [pytest.approx(0.01)] * (22 - before)


def test_any_optimizer_and_schedule(tmp_path: Path, few_names: Path) -> None:
    module = MakemoreModule(
        optimizer=lambda params: torch.optim.AdamW(params, lr=0.5),
        lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(
            optimizer, 0.5
        ),
        lr_interval="epoch",
    )
    assert (
        learning_rates(tmp_path, few_names, module, max_epochs=2)
        == [0.5] * 11 + [0.25] * 11
    )
    assert isinstance(module.trainer.optimizers[0], torch.optim.AdamW)


def test_a_schedule_that_monitors_the_validation(
    tmp_path: Path, few_names: Path
) -> None:
    module = MakemoreModule(
        lr_scheduler=lambda optimizer: ReduceLROnPlateau(
            optimizer, "val/loss", threshold=100.0, threshold_mode="abs", patience=0
        )
    )
    rates = learning_rates(tmp_path, few_names, module, max_epochs=3)
    assert rates[:22] == [0.1] * 22
    assert rates[22:] == [pytest.approx(0.01)] * 11


def test_warns_if_a_longer_run_keeps_the_schedule_of_the_checkpoint(
    tmp_path: Path, few_names: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save_checkpoint(tmp_path, few_names)  # of a run of 5 steps
    assert not caplog.records
    make_trainer(tmp_path, max_steps=20).fit(
        MakemoreModule(hidden_sizes=(20,)),
        NamesDataModule(str(few_names)),
        ckpt_path=path,
    )
    assert (
        "drops at step 2, as there, and not at 10, after 0.5 of this one" in caplog.text
    )


def save_checkpoint(folder: Path, names: Path, **arguments: Any) -> str:
    """Runs a fit of 5 steps and returns the path of its checkpoint."""
    module = MakemoreModule(hidden_sizes=(20,), **arguments)
    path = str(folder / "step5.ckpt")
    fit(folder, names, module, max_steps=5).save_checkpoint(path, weights_only=False)
    return path


def test_load_from_checkpoint_needs_no_data(tmp_path: Path, few_names: Path) -> None:
    path = save_checkpoint(tmp_path, few_names, activation="ReLU", batchnorm=True)
    module = MakemoreModule.load_from_checkpoint(path, weights_only=True).eval()
    saved = torch.load(path, weights_only=True)
    assert module.vocabulary.characters == saved["vocabulary"]
    assert module.block_size == 3
    for name, value in module.state_dict().items():
        assert torch.equal(value, saved["state_dict"][name])


def test_evaluation_encodes_other_data_with_the_checkpoints_vocabulary(
    tmp_path: Path, few_names: Path
) -> None:
    path = save_checkpoint(tmp_path, few_names)
    few_characters = tmp_path / "few_characters.txt"
    few_characters.write_text("ava\n" * 10)
    trainer, module = make_trainer(tmp_path), MakemoreModule(hidden_sizes=(20,))
    (result,) = trainer.test(
        module, NamesDataModule(str(few_characters)), ckpt_path=path, verbose=False
    )
    loaded = MakemoreModule.load_from_checkpoint(path, weights_only=True).eval()
    ids = loaded.vocabulary.encode("ava")
    contexts = torch.tensor([[0, 0, 0], [0, 0, ids[0]], [0, *ids[:2]], ids])
    expected = torch.nn.functional.cross_entropy(
        loaded(contexts), torch.tensor([*ids, 0])
    ).item()
    assert result["test/loss"] == pytest.approx(expected, rel=1e-5)


def test_evaluation_refuses_characters_outside_the_vocabulary(
    tmp_path: Path, few_names: Path
) -> None:
    path = save_checkpoint(tmp_path, few_names)
    accents = tmp_path / "accents.txt"
    accents.write_text("zoé\n" * 10, encoding="utf-8")
    with pytest.raises(
        InputError,
        match=r"accents.txt, line \d+: the character 'é' of 'zoé' is not among",
    ):
        make_trainer(tmp_path).test(
            MakemoreModule(hidden_sizes=(20,)),
            NamesDataModule(str(accents)),
            ckpt_path=path,
        )


@pytest.mark.parametrize(
    ("names", "block_size"), [("ava\n" * 10, 3), (None, 4)], ids=["names", "block_size"]
)
def test_resuming_with_other_data_raises(
    tmp_path: Path, few_names: Path, names: str | None, block_size: int
) -> None:
    path = save_checkpoint(tmp_path, few_names)
    if names is not None:
        few_names.write_text(names)
    module, data = (
        MakemoreModule(hidden_sizes=(20,)),
        NamesDataModule(str(few_names), block_size=block_size),
    )
    with pytest.raises(InputError, match="give the data it was trained on"):
        make_trainer(tmp_path, max_steps=9).fit(module, data, ckpt_path=path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"init": "xavier"}, "init='xavier'"),
        ({"activation": "Step"}, "activation='Step'"),
        ({"lr_drop": 0.0}, "lr_drop must be"),
        ({"lr_drop": 1.5}, "lr_drop must be"),
    ],
)
def test_bad_arguments_raise_in_the_constructor(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        MakemoreModule(**arguments)
