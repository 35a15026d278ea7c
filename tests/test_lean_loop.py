"""The shortcuts change no figure, and each still meets what it was made for in the installed Lightning."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature

from makemore_lightning import MakemoreModule, NamesDataModule
from makemore_lightning.lean_loop import LeanModule, SilentProfiler


class Plain(MakemoreModule):
    """As the module would be without the shortcuts."""

    __setattr__ = LightningModule.__setattr__
    optimizer_zero_grad = LightningModule.optimizer_zero_grad

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return super().training_step(batch, batch_idx)


del Plain.training_step.__signature__  # type: ignore[attr-defined]


def trained(module: MakemoreModule, names: Path, **arguments: Any) -> dict[str, torch.Tensor]:
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


def test_training_is_the_same_to_the_bit(few_names: Path) -> None:
    lean = trained(MakemoreModule(batchnorm=True), few_names, profiler=SilentProfiler())
    plain = trained(Plain(batchnorm=True), few_names)
    assert all(torch.equal(lean[name], plain[name]) for name in plain)


def test_lightning_still_sets_the_name_of_the_hook(few_names: Path) -> None:
    names: list[str] = []

    class Watched(MakemoreModule):
        def __setattr__(self, name: str, value: Any) -> None:
            names.append(name)
            super().__setattr__(name, value)

    trained(Watched(), few_names)
    assert names.count("_current_fx_name") > 30 * 20


def test_lightning_still_asks_for_the_signature(few_names: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def counting(function: Any, *arguments: Any, **options: Any) -> bool:
        asked.append(function.__signature__)  # AttributeError where it is not kept
        return is_param_in_hook_signature(function, *arguments, **options)

    monkeypatch.setattr("lightning.pytorch.loops.training_epoch_loop.is_param_in_hook_signature", counting)
    trained(MakemoreModule(), few_names)
    assert len(asked) == 30
    assert list(asked[0].parameters) == ["self", "batch", "batch_idx"]


def test_lightning_still_profiles_through_this_method(few_names: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiled: list[str] = []
    profile = SilentProfiler.profile
    monkeypatch.setattr(SilentProfiler, "profile", lambda self, name: profiled.append(name) or profile(self, name))
    trained(MakemoreModule(), few_names, profiler=SilentProfiler())
    assert len(profiled) > 30 * 15


def test_touches_no_other_class() -> None:
    class Silent(LeanModule):
        pass

    assert not hasattr(Silent.training_step, "__signature__")
    assert not hasattr(LightningModule.training_step, "__signature__")


def test_other_attributes_are_still_registered() -> None:
    class Module(LeanModule):
        def training_step(self, batch: Any, batch_idx: int) -> None: ...

    module = Module()
    module.layer = torch.nn.Linear(2, 2)
    assert len(list(module.parameters())) == 2
