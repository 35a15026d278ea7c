"""Tests that the shortcuts change no result, and that the installed Lightning still uses the code they replace."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature

from makemore_lightning import MakemoreModule, NamesDataModule
from makemore_lightning.loop_overhead import LowOverheadModule, NullProfiler


class PlainModule(MakemoreModule):
    """MakemoreModule without the shortcuts."""

    __setattr__ = LightningModule.__setattr__
    optimizer_zero_grad = LightningModule.optimizer_zero_grad

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return super().training_step(batch, batch_idx)


del PlainModule.training_step.__signature__  # type: ignore[attr-defined]


def trained_weights(
    module: MakemoreModule, names: Path, **arguments: Any
) -> dict[str, torch.Tensor]:
    seed_everything(1, verbose=False)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=30,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **arguments,
    )
    trainer.fit(module, NamesDataModule(str(names)))
    return module.state_dict()


def test_training_is_bit_equal_without_the_shortcuts(few_names: Path) -> None:
    weights = trained_weights(
        MakemoreModule(batchnorm=True), few_names, profiler=NullProfiler()
    )
    plain_weights = trained_weights(PlainModule(batchnorm=True), few_names)
    assert all(
        torch.equal(weights[name], plain_weights[name]) for name in plain_weights
    )


def test_lightning_sets_the_name_of_the_hook(few_names: Path) -> None:
    names: list[str] = []

    class RecordingModule(MakemoreModule):
        def __setattr__(self, name: str, value: Any) -> None:
            names.append(name)
            super().__setattr__(name, value)

    trained_weights(RecordingModule(), few_names)
    assert names.count("_current_fx_name") > 30 * 20


def test_lightning_inspects_the_signature_at_every_batch(
    few_names: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signatures: list[Any] = []

    def recording(function: Any, *arguments: Any, **options: Any) -> bool:
        signatures.append(function.__signature__)  # AttributeError if not cached
        return is_param_in_hook_signature(function, *arguments, **options)

    monkeypatch.setattr(
        "lightning.pytorch.loops.training_epoch_loop.is_param_in_hook_signature",
        recording,
    )
    trained_weights(MakemoreModule(), few_names)
    assert len(signatures) == 30
    assert list(signatures[0].parameters) == ["self", "batch", "batch_idx"]


def test_lightning_profiles_through_the_replaced_method(
    few_names: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiled: list[str] = []
    profile = NullProfiler.profile

    def recording(self: NullProfiler, action_name: str) -> Any:
        profiled.append(action_name)
        return profile(self, action_name)

    monkeypatch.setattr(NullProfiler, "profile", recording)
    trained_weights(MakemoreModule(), few_names, profiler=NullProfiler())
    assert len(profiled) > 30 * 15


def test_other_classes_have_no_cached_signature() -> None:
    class WithoutStep(LowOverheadModule):
        pass

    assert not hasattr(WithoutStep.training_step, "__signature__")
    assert not hasattr(LightningModule.training_step, "__signature__")


def test_submodules_are_registered() -> None:
    class Module(LowOverheadModule):
        def training_step(self, batch: Any, batch_idx: int) -> None: ...

    module = Module()
    module.layer = torch.nn.Linear(2, 2)
    assert len(list(module.parameters())) == 2
