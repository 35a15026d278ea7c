"""Tests of MakemoreModule: steps, logged metrics, schedules and checkpoints."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
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


def test_train_metrics_begin_with_the_loss_at_initialization(
    tmp_path: Path, few_names: Path
) -> None:
    logger = TensorBoardLogger(tmp_path, name="x", version="v")
    losses: list[float] = []

    class RecordingModule(MakemoreModule):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss = super().training_step(batch, batch_idx)
            losses.append(loss.item())
            return loss

    fit(
        tmp_path,
        few_names,
        RecordingModule(hidden_sizes=(20,)),
        logger=logger,
        max_steps=12,
    )
    events = read_events(logger)
    points = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert points == [(step, pytest.approx(losses[step])) for step in (0, 5, 10)]
    train_tags = {tag for tag in events.Tags()["scalars"] if tag.startswith("train/")}
    assert train_tags == {
        "train/loss",
        "train/bits_per_character",
        "train/perplexity",
        "train/accuracy",
    }


def test_accumulated_batches_are_one_point(tmp_path: Path, few_names: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="x", version="v")
    fit(tmp_path, few_names, logger=logger, max_steps=6, accumulate_grad_batches=2)
    events = read_events(logger)
    assert [event.step for event in events.Scalars("train/loss")] == [0, 5]


def test_hparams_metric_equals_the_last_validation(
    tmp_path: Path, few_names: Path
) -> None:
    logger = TensorBoardLogger(tmp_path, name="x", version="v")
    fit(
        tmp_path,
        few_names,
        logger=logger,
        max_steps=10,
        val_check_interval=7,
        check_val_every_n_epoch=None,
    )
    events = read_events(logger)
    (result,) = events.Scalars("final/val_loss")
    assert (result.step, result.value) == (7, events.Scalars("val/loss")[-1].value)


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
def test_learning_rate_drops_to_a_tenth_in_the_middle(
    tmp_path: Path, few_names: Path, limit: dict[str, int]
) -> None:
    rates = learning_rates(tmp_path, few_names, MakemoreModule(), **limit)
    assert rates == [0.1] * 11 + [pytest.approx(0.01)] * 11


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
        "drops at step 2, as there, and not at 10, half-way through this one"
        in caplog.text
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
    ],
)
def test_bad_arguments_raise_in_the_constructor(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        MakemoreModule(**arguments)
