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


def trainer(folder: Path, **arguments: Any) -> Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": folder,
        "log_every_n_steps": 5,
    }
    return Trainer(**{**defaults, **arguments})


def fit(folder: Path, names: Path, module: MakemoreModule | None = None, **arguments: Any) -> Trainer:
    seed_everything(1, verbose=False)
    made = trainer(folder, **arguments)
    made.fit(module or MakemoreModule(hidden_sizes=(20,)), NamesDataModule(str(names)))
    return made


def module_of(made: Trainer) -> MakemoreModule:
    assert isinstance(made.lightning_module, MakemoreModule)
    return made.lightning_module


def test_one_step_is_the_notes_step(tmp_path: Path, few_names: Path) -> None:
    seed_everything(1, verbose=False)
    module, data = MakemoreModule(init="naive"), NamesDataModule(str(few_names))
    data.setup("fit")
    module.build(data.vocabulary, data.block_size)
    contexts, targets = next(iter(data.train_dataloader()))
    parameters = {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters()}
    logits = torch.func.functional_call(module, parameters, (contexts,))
    loss = -torch.log_softmax(logits, 1)[torch.arange(32), targets].mean()
    loss.backward()

    trainer(tmp_path, max_steps=1).fit(module, data)
    for name, after in module.named_parameters():
        before = parameters[name]
        assert before.grad is not None
        torch.testing.assert_close(after.detach(), before.detach() - 0.1 * before.grad)


def test_the_loss_at_initialization_is_on_the_chart(tmp_path: Path, few_names: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="x", version="v")
    seen: list[float] = []

    class Watched(MakemoreModule):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss = super().training_step(batch, batch_idx)
            seen.append(loss.item())
            return loss

    fit(tmp_path, few_names, Watched(hidden_sizes=(20,)), logger=logger, max_steps=12)
    events = EventAccumulator(logger.log_dir).Reload()
    points = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert points == [(step, pytest.approx(seen[step])) for step in (0, 5, 10)]
    assert {tag for tag in events.Tags()["scalars"] if tag.startswith("train/")} == {
        *("train/loss", "train/bits_per_character", "train/perplexity", "train/accuracy")
    }


def test_several_batches_a_step_are_one_point(tmp_path: Path, few_names: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="x", version="v")
    fit(tmp_path, few_names, logger=logger, max_steps=6, accumulate_grad_batches=2)
    events = EventAccumulator(logger.log_dir).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [0, 5]


def test_the_result_in_the_table_of_runs_is_that_of_its_step(tmp_path: Path, few_names: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="x", version="v")
    fit(tmp_path, few_names, logger=logger, max_steps=10, val_check_interval=7, check_val_every_n_epoch=None)
    events = EventAccumulator(logger.log_dir).Reload()
    (result,) = events.Scalars("final/val_loss")
    assert (result.step, result.value) == (7, events.Scalars("val/loss")[-1].value)


def test_every_logger_gets_the_figures(tmp_path: Path, few_names: Path) -> None:
    loggers = [CSVLogger(tmp_path, name="a", version="v"), CSVLogger(tmp_path, name="b", version="v")]
    fit(tmp_path, few_names, logger=loggers, max_steps=6)
    for logger in loggers:
        assert "train/loss" in (Path(logger.log_dir) / "metrics.csv").read_text()


def test_evaluation_is_over_all_rows_whatever_the_batches(tmp_path: Path, few_names: Path) -> None:
    made = fit(tmp_path, few_names, max_steps=5)
    module = module_of(made)
    data = NamesDataModule(str(few_names))
    data.setup("test")
    windows = data.windows("val")
    whole = torch.nn.functional.cross_entropy(module(windows.contexts), windows.targets).item()
    for batch_size in (7, 1000):
        result = made.validate(module, EvaluationBatches(windows, batch_size), verbose=False)[0]
        assert result["val/loss"] == pytest.approx(whole, rel=1e-5)
        assert result["val/bits_per_character"] == pytest.approx(whole / math.log(2), rel=1e-5)
        assert result["val/perplexity"] == pytest.approx(math.exp(whole), rel=1e-5)


def rates(folder: Path, names: Path, module: MakemoreModule, **arguments: Any) -> list[float]:
    seen: list[float] = []
    step = module.training_step

    def training_step(batch: Any, batch_idx: int) -> torch.Tensor:
        seen.append(module.trainer.optimizers[0].param_groups[0]["lr"])
        return step(batch, batch_idx)

    module.training_step = training_step  # type: ignore[method-assign]
    fit(folder, names, module, **arguments)
    return seen


@pytest.mark.parametrize("limit", [{"max_steps": 22}, {"max_epochs": 2}])
def test_the_rate_drops_to_a_tenth_half_way(tmp_path: Path, few_names: Path, limit: dict[str, int]) -> None:
    seen = rates(tmp_path, few_names, MakemoreModule(), **limit)
    assert seen == [0.1] * 11 + [pytest.approx(0.01)] * 11


def test_any_optimizer_and_schedule(tmp_path: Path, few_names: Path) -> None:
    module = MakemoreModule(
        optimizer=lambda params: torch.optim.AdamW(params, lr=0.5),
        lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5),
        lr_interval="epoch",
    )
    assert rates(tmp_path, few_names, module, max_epochs=2) == [0.5] * 11 + [0.25] * 11
    assert isinstance(module.trainer.optimizers[0], torch.optim.AdamW)


def test_a_schedule_that_watches_the_validation(tmp_path: Path, few_names: Path) -> None:
    module = MakemoreModule(
        lr_scheduler=lambda optimizer: ReduceLROnPlateau(
            optimizer, "val/loss", threshold=100.0, threshold_mode="abs", patience=0
        )
    )
    seen = rates(tmp_path, few_names, module, max_epochs=3)
    assert seen[:22] == [0.1] * 22
    assert seen[22:] == [pytest.approx(0.01)] * 11


def test_a_longer_run_is_told_where_its_rate_drops(
    tmp_path: Path, few_names: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = checkpoint(tmp_path, few_names)  # of a run of 5 steps
    assert not caplog.records
    trainer(tmp_path, max_steps=20).fit(
        MakemoreModule(hidden_sizes=(20,)), NamesDataModule(str(few_names)), ckpt_path=path
    )
    assert "drops at step 2, as there, and not at 10, half-way through this one" in caplog.text


def checkpoint(folder: Path, names: Path, **arguments: Any) -> str:
    made = fit(folder, names, MakemoreModule(hidden_sizes=(20,), **arguments), max_steps=5)
    path = str(folder / "made.ckpt")
    made.save_checkpoint(path, weights_only=False)
    return path


def test_a_checkpoint_alone_makes_the_network_again(tmp_path: Path, few_names: Path) -> None:
    path = checkpoint(tmp_path, few_names, activation="ReLU", batchnorm=True)
    module = MakemoreModule.load_from_checkpoint(path, weights_only=True).eval()
    saved = torch.load(path, weights_only=True)
    assert module.vocabulary.characters == saved["vocabulary"]
    assert module.block_size == 3
    for name, value in module.state_dict().items():
        assert torch.equal(value, saved["state_dict"][name])


def test_a_checkpoint_speaks_its_own_characters_to_other_data(tmp_path: Path, few_names: Path) -> None:
    path = checkpoint(tmp_path, few_names)
    part = tmp_path / "part.txt"
    part.write_text("ava\n" * 10)
    made, module = trainer(tmp_path), MakemoreModule(hidden_sizes=(20,))
    result = made.test(module, NamesDataModule(str(part)), ckpt_path=path, verbose=False)
    loaded = MakemoreModule.load_from_checkpoint(path, weights_only=True).eval()
    ids = loaded.vocabulary.encode("ava")
    contexts = torch.tensor([[0, 0, 0], [0, 0, ids[0]], [0, *ids[:2]], ids])
    expected = torch.nn.functional.cross_entropy(loaded(contexts), torch.tensor([*ids, 0])).item()
    assert result[0]["test/loss"] == pytest.approx(expected, rel=1e-5)


def test_data_with_a_character_that_the_checkpoint_lacks(tmp_path: Path, few_names: Path) -> None:
    path = checkpoint(tmp_path, few_names)
    other = tmp_path / "other.txt"
    other.write_text("zoé\n" * 10, encoding="utf-8")
    with pytest.raises(InputError, match=r"other.txt, line \d+: the character 'é' of 'zoé' is not among"):
        trainer(tmp_path).test(MakemoreModule(hidden_sizes=(20,)), NamesDataModule(str(other)), ckpt_path=path)


@pytest.mark.parametrize("other", [{"names": "ava\n" * 10}, {"block_size": 4}])
def test_training_does_not_go_on_with_other_data(tmp_path: Path, few_names: Path, other: dict[str, Any]) -> None:
    path = checkpoint(tmp_path, few_names)
    if "names" in other:
        few_names.write_text(other.pop("names"))
    with pytest.raises(InputError, match="give the data it was trained on"):
        trainer(tmp_path, max_steps=9).fit(
            MakemoreModule(hidden_sizes=(20,)), NamesDataModule(str(few_names), **other), ckpt_path=path
        )


@pytest.mark.parametrize(
    ("arguments", "message"), [({"init": "xavier"}, "init='xavier'"), ({"activation": "Step"}, "activation='Step'")]
)
def test_bad_arguments_raise_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MakemoreModule(**arguments)
