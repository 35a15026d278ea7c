"""Trial: a few training steps of a copy, with a Trainer of its own that leaves nothing behind."""

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from torch import nn

from .._lightning import Callback, extend_bases, import_package, imported_packages
from .._messages import InstrumentError
from ..probe.length import step_of
from .copies import copy_data, copy_model
from .untouched import untouched

FIXED = {
    "callbacks",
    "default_root_dir",
    "devices",
    "enable_checkpointing",
    "enable_model_summary",
    "enable_progress_bar",
    "limit_val_batches",
    "logger",
    "num_nodes",
    "num_sanity_val_steps",
    "plugins",
    "strategy",
}
"""Arguments of the Trainer that a trial chooses."""

LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning")
OURS = "Training goes on."
"""End of the warnings of the instruments."""

LIGHTNING = ("/lightning/", "/pytorch_lightning/", "/lightning_fabric/")

Prepare = Callable[[Any, Any], None]
"""Changes the copies of a model and of its data before the trial."""


def run_trial(
    model: nn.Module,
    data: Any,
    callbacks: Sequence[Callback],
    steps: int,
    accelerator: str = "auto",
    prepare: Prepare | None = None,
    plugins: Sequence[Any] = (),
    **options: Any,
) -> tuple[str, ...]:
    """Trains a copy of a model for some steps.

    Args:
        model: LightningModule; is not changed.
        data: LightningDataModule, training dataloader, or None where the model has one; random numbers and attributes
            are restored.
        callbacks: Observe the trial.
        steps: Steps, each of the batches of an accumulation.
        accelerator: That of the Trainer.
        prepare: Changes the copies before the trial.
        plugins: Further plugins of the Trainer.
        **options: Further arguments of the Trainer, such as `precision`.

    Returns:
        What the instruments warned of.

    Raises:
        InstrumentError: If an argument makes no sense, or the model cannot be copied.
    """
    package = package_of(model)
    _check(steps, options)
    extend_bases()
    is_datamodule = isinstance(data, package.LightningDataModule)
    with (
        untouched(data, accelerator != "cpu"),
        tempfile.TemporaryDirectory() as folder,
        quiet() as messages,
    ):
        copied = copy_model(model)
        copied.configure_callbacks = list  # they may write files
        source = copy_data(data) if is_datamodule else data
        if prepare is not None:
            prepare(copied, source)
        trainer = package.Trainer(
            **{"accelerator": accelerator, **options},
            **_trainer_arguments(package, folder, plugins),
            callbacks=[*callbacks, TrialLength(steps)],
        )
        name = "datamodule" if is_datamodule else "train_dataloaders"
        trainer.fit(copied, **{name: source})
    return tuple(messages)


class TrialLength(Callback):
    """Ends a fit after some steps; the schedule of the learning rate stays that of the whole training.

    Args:
        steps: Number of steps.
    """

    def __init__(self, steps: int) -> None:
        extend_bases()
        super().__init__()
        self.steps = steps

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        for config in trainer.lr_scheduler_configs:
            config.strict = False  # nothing is validated, which it may monitor

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        is_last = step_of(trainer) + 1 >= self.steps
        if is_last and not trainer.fit_loop.epoch_loop._should_accumulate():
            trainer.should_stop = True
            # The end of an epoch or a training is where models write files.
            pl_module.on_train_epoch_end = pl_module.on_train_end = _nothing


def _nothing() -> None:
    """Does nothing."""


def package_of(model: nn.Module) -> ModuleType:
    """Returns the package of PyTorch Lightning that a model is a module of.

    Raises:
        InstrumentError: If it is none of any.
    """
    inner = getattr(model, "_orig_mod", model)
    for package in imported_packages() or [import_package()]:
        if isinstance(inner, package.LightningModule):
            return package
    raise InstrumentError(
        f"model must be a LightningModule, got {type(model).__name__}: its training_step and optimizers are tried."
    )


def _check(steps: int, options: dict[str, Any]) -> None:
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise InstrumentError(f"steps must be a whole number, 1 or more, got {steps!r}")
    for name in options:
        if name in FIXED:
            raise InstrumentError(
                f"{name}: a trial has no choice of it; it has one device, and writes nothing"
            )


def _trainer_arguments(
    package: ModuleType, folder: str, plugins: Sequence[Any]
) -> dict[str, Any]:
    environments = import_module(f"{package.__name__}.plugins.environments")
    loggers = import_module(f"{package.__name__}.loggers.logger")
    # Models ask their logger for things; this one takes all, and writes nothing.
    kind = type("TrialLogger", (loggers.DummyLogger,), {"save_dir": folder})
    return {
        "default_root_dir": folder,
        "devices": 1,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "limit_val_batches": 0,
        "logger": kind(),
        "num_sanity_val_steps": 0,
        "plugins": [environments.LightningEnvironment(), *plugins],
    }


@contextlib.contextmanager
def quiet() -> Iterator[list[str]]:
    """Keeps Lightning's messages from the terminal; collects the warnings of the instruments.

    Warnings of anything else are issued at the end.
    """
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    messages: list[str] = []
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield messages
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    for warning in caught:
        text = str(warning.message)
        if text.endswith(OURS):
            messages.append(text.removesuffix(OURS).strip())
        elif not any(place in warning.filename for place in LIGHTNING):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
