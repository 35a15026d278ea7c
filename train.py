"""The one entry point: `python train.py fit|validate|test|predict --config configs/kaiming.yaml`."""

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import PositiveInt
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from torch.utils.data import DataLoader

# Imported so that a config can name their classes without the module.
import callbacks as _instruments  # noqa: F401
import makemore_lightning.last_checkpoint  # noqa: F401
from makemore_lightning import InputError, MakemoreModule, NamesDataModule
from makemore_lightning.lean_loop import SilentProfiler
from makemore_lightning.progress import StepProgress
from makemore_lightning.sampling import SampleRequest


class MakemoreCLI(LightningCLI):
    """LightningCLI with what a run of makemore needs besides: threads, a bar, a way to go on, and names as output."""

    continues = False
    """Whether training goes on in the folder where it began."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--threads", type=PositiveInt, default=1, help="CPU threads; a network this small is fastest on 1"
        )
        parser.add_class_arguments(SampleRequest, "sample")
        parser.add_argument(
            "--sample_file", type=Path, help="where predict saves the names (default: by the checkpoint)"
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        super().parse_arguments(parser, args)
        # Next, LightningCLI puts the checkpoint's arguments in their place.
        self.asked_model = self.given.model.clone()

    @property
    def given(self) -> Any:
        """The arguments of the subcommand, as parsed."""
        return self.config[self.config.subcommand]

    def before_instantiate_classes(self) -> None:
        given = self.given
        torch.set_num_threads(given.threads)
        checkpoint = load_checkpoint(given.ckpt_path)
        if self.subcommand == "fit":
            if checkpoint is not None:
                refuse_other_arguments("model", vars(self.asked_model), vars(given.model))
                refuse_other_arguments("data", vars(given.data), checkpoint.get("datamodule_hyper_parameters", {}))
                self.continues = continue_in_the_same_folder(given, checkpoint)
            drop_what_needs_a_logger(given.trainer)
            return
        if checkpoint is None:
            raise InputError(f"{self.subcommand} needs a trained network: give its checkpoint with --ckpt_path FILE")
        take_data_arguments(given.data, checkpoint, self._parser(self.subcommand).get_defaults().data)
        # Only training leaves a record.
        given.trainer.logger = False

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = self.given.trainer
        configured = self.config_init[str(self.subcommand)].trainer.callbacks or []
        if trainer.enable_progress_bar is not False and not any(isinstance(c, ProgressBar) for c in configured):
            self.trainer_defaults["callbacks"].append(StepProgress())
        if trainer.profiler is None:
            kwargs["profiler"] = SilentProfiler()
        return super().instantiate_trainer(**validations_that_come(trainer), **kwargs)

    def before_fit(self) -> None:
        folder = self.trainer.log_dir if self.trainer.loggers else None
        # A run that goes on has the config that it began with. Lightning's callback for this would cost every step.
        if folder and self.trainer.is_global_zero and not self.continues:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self._parser("fit").save(self.given, Path(folder) / "config.yaml", skip_unset=False, overwrite=True)

    def after_fit(self) -> None:
        if self.trainer.is_global_zero and self.trainer.log_dir:
            best = getattr(self.trainer.checkpoint_callback, "best_model_path", "") or "none, there was no validation"
            logger = self.trainer.logger
            folder = logger.save_dir if logger else self.trainer.default_root_dir
            print(f"See the charts with: tensorboard --logdir {folder}   Best checkpoint: {best}")

    def predict(self, model: LightningModule, ckpt_path: str, **_: Any) -> None:
        """Prints and saves names drawn from a checkpoint."""
        config = self.config_init[str(self.subcommand)]
        one_request = DataLoader([config.sample], batch_size=None)  # type: ignore[arg-type]  any sequence will do
        batches = self.trainer.predict(model, one_request, ckpt_path=ckpt_path)
        names = [name for batch in batches or [] for name in batch]
        target = config.sample_file or Path(ckpt_path).with_name("generated.txt")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        print("\n".join(names))
        print(f"Saved to {target}", file=sys.stderr)


def load_checkpoint(path: str | None) -> dict[str, Any] | None:
    """Returns the checkpoint that a path stands for, None if there is no path.

    Raises:
        InputError: If it is not there.
    """
    if path is None:
        return None
    if not Path(path).is_file():
        raise InputError(f"--ckpt_path {path}: no such file. A run keeps its own in RUN/checkpoints/last.ckpt")
    return torch.load(path, map_location="cpu", weights_only=True)


def refuse_other_arguments(part: str, asked: dict[str, Any], trained: dict[str, Any]) -> None:
    """Keeps training from going on with another network or other data than before.

    Raises:
        InputError: If the arguments differ; says which.
    """
    differing = [name for name in trained if name in asked and _plain(asked[name]) != _plain(trained[name])]
    if differing:
        told = ", ".join(f"{part}.{name}={trained[name]!r} and not {asked[name]!r}" for name in differing)
        raise InputError(f"the checkpoint was trained with {told}; give the config and the arguments of its run")


def _plain(value: Any) -> Any:
    """A list as a config has it is the tuple that an argument is."""
    return tuple(value) if isinstance(value, list) else value


def continue_in_the_same_folder(given: Any, checkpoint: dict[str, Any]) -> bool:
    """Lets a run go on writing in the folder where it began, so that its charts are whole; tells whether it does."""
    logger = given.trainer.logger
    if "TensorBoardLogger" not in str(getattr(logger, "class_path", "")):
        return False
    run = Path(given.ckpt_path).resolve().parent.parent
    if run.parent != (Path(logger.init_args.save_dir) / (logger.init_args.name or "")).resolve():
        return False
    logger.init_args.version = run.name
    # Drops what was written after the checkpoint: those steps are taken again.
    logger.init_args.purge_step = checkpoint["global_step"]
    return True


def drop_what_needs_a_logger(trainer: Any) -> None:
    """Lets `--trainer.logger=false` be all that it takes to train without a record."""
    if trainer.logger is False:
        trainer.callbacks = [c for c in trainer.callbacks or [] if "LearningRateMonitor" not in str(c.class_path)]


def take_data_arguments(data: Any, checkpoint: dict[str, Any], defaults: Any) -> None:
    """Evaluates on the data of the training: what is left at its default becomes what it was there."""
    for name, value in checkpoint.get("datamodule_hyper_parameters", {}).items():
        if name in data and data[name] == defaults[name]:
            data[name] = value


def validations_that_come(trainer: Any) -> dict[str, Any]:
    """Keeps a short run from ending before its first validation, and so without a best checkpoint."""
    every = trainer.val_check_interval
    if not isinstance(every, int):
        return {}
    if trainer.max_steps > 0:
        return {"val_check_interval": min(every, trainer.max_steps)}
    return {"val_check_interval": 1.0, "check_val_every_n_epoch": 1}  # counted in epochs: once in each


def make_cli(arguments: list[str] | None = None, callbacks: Sequence[Callback] = ()) -> MakemoreCLI:
    """Runs a command line, by default the process's own, and returns what it made.

    Args:
        arguments: Such as `["fit", "--config=configs/kaiming.yaml"]`; None = `sys.argv[1:]`.
        callbacks: Joins them to those of the config.
    """
    silence_foreign_noise()
    return MakemoreCLI(
        MakemoreModule,
        NamesDataModule,
        args=arguments,
        trainer_defaults={"callbacks": list(callbacks)},
        save_config_callback=None,  # see before_fit
        seed_everything_default=2147483647,
        auto_configure_optimizers=False,  # the module takes them, so that its default drops the rate half-way
    )


def main() -> None:
    """Runs the command line; a person's mistake ends it with one line and exit code 2."""
    try:
        make_cli()
    except (InputError, MisconfigurationException) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def silence_foreign_noise() -> None:
    """Keeps off the terminal what a person can do nothing about."""
    # Lightning advertises other products at each start,
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda r: "Tip:" not in r.getMessage())
    # in 2.6 calls what torch 2.13 deprecates,
    warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
    # and asks for the callbacks of the training wherever a checkpoint is evaluated.
    warnings.filterwarnings("ignore", r".*callbacks used to create the checkpoint need to be provided")


if __name__ == "__main__":
    main()
