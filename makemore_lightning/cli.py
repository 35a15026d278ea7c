"""Command line of the experiment: LightningCLI with subcommands fit, validate, test and predict."""

import logging
import sys
import warnings
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import PositiveInt
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from torch.utils.data import DataLoader

# A config can name LastCheckpoint without its module only if the class has been imported.
import makemore_lightning.last_checkpoint  # noqa: F401
from makemore_lightning.datamodule import NamesDataModule
from makemore_lightning.errors import InputError
from makemore_lightning.loop_overhead import NullProfiler
from makemore_lightning.module import MakemoreModule
from makemore_lightning.progress import StepProgress
from makemore_lightning.resume import (
    Checkpoint,
    load_checkpoint,
    logger_arguments_to_continue,
    refuse_other_arguments,
    training_data_arguments,
)
from makemore_lightning.sampling import SampleRequest

DEFAULT_SEED = 2147483647
"""The seed of the notes."""

VALIDATIONS = 10
"""Validations of a run whose config leaves their interval open, besides the one before the first step."""


class MakemoreCLI(LightningCLI):
    """LightningCLI with a CPU thread count, a step progress bar, resuming of runs, and sampling in `predict`."""

    resumes_in_place = False
    """True if `fit` continues a run in the folder of that run."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--threads",
            type=PositiveInt,
            default=1,
            help="CPU threads; a network this small is fastest on 1",
        )
        parser.add_class_arguments(SampleRequest, "sample")
        parser.add_argument(
            "--sample_file",
            type=Path,
            help="where predict saves the names (default: beside the checkpoint)",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        super().parse_arguments(parser, args)
        # Copied because LightningCLI next replaces them with the hyperparameters of the checkpoint.
        self.requested_model = self.arguments.model.clone()

    @property
    def arguments(self) -> Any:
        """The parsed arguments of the subcommand."""
        return self.config[self.config.subcommand]

    def before_instantiate_classes(self) -> None:
        torch.set_num_threads(self.arguments.threads)
        checkpoint = load_checkpoint(self.arguments.ckpt_path)
        if self.subcommand == "fit":
            self._configure_fit(checkpoint)
        elif checkpoint is not None:
            self._configure_evaluation(checkpoint)
        else:
            raise InputError(
                f"{self.subcommand} needs a trained network: give its checkpoint with --ckpt_path FILE"
            )

    def _configure_fit(self, checkpoint: Checkpoint | None) -> None:
        arguments = self.arguments
        if checkpoint is not None:
            refuse_other_arguments(
                "model", vars(self.requested_model), vars(arguments.model)
            )
            trained_data = checkpoint.get("datamodule_hyper_parameters", {})
            refuse_other_arguments("data", vars(arguments.data), trained_data)
            self._continue_logging(checkpoint)

    def _continue_logging(self, checkpoint: Checkpoint) -> None:
        logger = self.arguments.trainer.logger
        changes = logger_arguments_to_continue(
            logger, self.arguments.ckpt_path, checkpoint
        )
        for name, value in changes.items():
            logger.init_args[name] = value
        self.resumes_in_place = bool(changes)

    def _configure_evaluation(self, checkpoint: Checkpoint) -> None:
        data = self.arguments.data
        defaults = self._parser(self.subcommand).get_defaults().data
        for name, value in training_data_arguments(data, defaults, checkpoint).items():
            data[name] = value
        # Only training writes a log folder.
        self.arguments.trainer.logger = False

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = self.arguments.trainer
        configured = self.config_init[str(self.subcommand)].trainer.callbacks or []
        has_progress_bar = any(
            isinstance(callback, ProgressBar) for callback in configured
        )
        if trainer.enable_progress_bar is not False and not has_progress_bar:
            self.trainer_defaults["callbacks"].append(StepProgress())
        if trainer.profiler is None:
            kwargs["profiler"] = NullProfiler()
        interval = trainer.val_check_interval
        if interval is None:
            self.model.validations = VALIDATIONS
        return super().instantiate_trainer(**validation_arguments(interval), **kwargs)

    def before_fit(self) -> None:
        # Written here because SaveConfigCallback would add a hook to every step. A resumed run keeps its first config.
        folder = self.trainer.log_dir if self.trainer.loggers else None
        if folder and self.trainer.is_global_zero and not self.resumes_in_place:
            Path(folder).mkdir(parents=True, exist_ok=True)
            path = Path(folder) / "config.yaml"
            self._parser("fit").save(
                self.arguments, path, skip_unset=False, overwrite=True
            )

    def after_fit(self) -> None:
        if self.trainer.is_global_zero and self.trainer.log_dir:
            best = (
                getattr(self.trainer.checkpoint_callback, "best_model_path", "")
                or "none, there was no validation"
            )
            logger = self.trainer.logger
            folder = logger.save_dir if logger else self.trainer.default_root_dir
            print(
                f"See the charts with: tensorboard --logdir {folder}   Best checkpoint: {best}"
            )

    def predict(self, model: LightningModule, ckpt_path: str, **_: Any) -> None:
        """Prints names sampled from a checkpoint, and saves them to a file."""
        arguments = self.config_init[str(self.subcommand)]
        requests = DataLoader([arguments.sample], batch_size=None)  # type: ignore[arg-type]  any sequence will do
        batches = self.trainer.predict(model, requests, ckpt_path=ckpt_path) or []
        names = list(chain.from_iterable(batches))
        path = arguments.sample_file or Path(ckpt_path).with_name("generated.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        print("\n".join(names))
        print(f"Saved to {path}", file=sys.stderr)


def validation_arguments(interval: int | float | str | None) -> dict[str, Any]:
    """Completes the arguments of the Trainer for an interval between validations.

    Args:
        interval: `val_check_interval` of the Trainer; None = validations spread over the run, see `MakemoreModule`.

    Returns:
        Arguments that replace those of the config.
    """
    if interval is None:
        return {"val_check_interval": 1.0, "check_val_every_n_epoch": 1}
    if isinstance(interval, float):
        # A fraction of an epoch; the config counts steps across epochs.
        return {"check_val_every_n_epoch": 1}
    return {}


def make_cli(
    arguments: list[str] | None = None, callbacks: Sequence[Callback] = ()
) -> MakemoreCLI:
    """Runs a command line.

    Args:
        arguments: Such as `["fit", "--config=configs/kaiming.yaml"]`; None = `sys.argv[1:]`.
        callbacks: Added to the callbacks of the config.

    Returns:
        The command line after its run, with `trainer`, `model` and `datamodule`.

    Raises:
        InputError: If an argument, a file of names or a checkpoint cannot be used.
    """
    filter_framework_messages()
    return MakemoreCLI(
        MakemoreModule,
        NamesDataModule,
        args=arguments,
        trainer_defaults={"callbacks": list(callbacks)},
        save_config_callback=None,  # see before_fit
        seed_everything_default=DEFAULT_SEED,
        auto_configure_optimizers=False,  # MakemoreModule takes them as arguments, with a schedule as default
    )


def main() -> None:
    """Runs `sys.argv`; an error in the user's input is printed as one line, with exit code 2."""
    try:
        make_cli()
    except (InputError, MisconfigurationException) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def filter_framework_messages() -> None:
    """Suppresses messages of the frameworks that require no action by the user."""
    # Lightning advertises other products at every start.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda r: "Tip:" not in r.getMessage()
    )
    # lightning 2.6 calls a function that torch 2.13 deprecates.
    warnings.filterwarnings(
        "ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning
    )
    # Evaluation runs without the callbacks of the training, on purpose.
    warnings.filterwarnings(
        "ignore", r".*callbacks used to create the checkpoint need to be provided"
    )
