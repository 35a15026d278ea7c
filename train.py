"""The one entry point: `python train.py fit|validate|test|predict --config configs/kaiming.yaml`."""

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
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

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--threads", type=int, default=1, help="CPU threads; a network this small is fastest on 1")
        parser.add_class_arguments(SampleRequest, "sample")
        parser.add_argument(
            "--sample_file", type=Path, help="where predict saves the names (default: by the checkpoint)"
        )

    def before_instantiate_classes(self) -> None:
        config = self.config[str(self.subcommand)]
        torch.set_num_threads(config.threads)
        if self.subcommand == "fit":
            _validate_at_the_end_at_least(config.trainer)
            _continue_in_the_same_folder(config)
        else:
            # Only training leaves a record.
            config.trainer.logger = False
            self.save_config_callback = None

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        trainer = self.config[str(self.subcommand)].trainer
        if trainer.enable_progress_bar is not False:
            self.trainer_defaults["callbacks"].append(StepProgress())
        if trainer.profiler is None:
            kwargs["profiler"] = SilentProfiler()
        return super().instantiate_trainer(**kwargs)

    def after_fit(self) -> None:
        logger, checkpoint = self.trainer.logger, self.trainer.checkpoint_callback
        best = getattr(checkpoint, "best_model_path", "") or "none"
        folder = logger.save_dir if logger else None
        print(f"See the charts with: tensorboard --logdir {folder}   Best checkpoint: {best}")

    def predict(self, model: LightningModule, ckpt_path: str | None = None, **_: Any) -> None:
        """Prints and saves names drawn from a checkpoint."""
        if ckpt_path is None:
            raise InputError("predict draws names from a trained network: give its checkpoint with --ckpt_path FILE")
        config = self.config_init[str(self.subcommand)]
        one_request = DataLoader([config.sample], batch_size=None)  # type: ignore[arg-type]  any sequence will do
        batches = self.trainer.predict(model, one_request, ckpt_path=ckpt_path)
        names = [name for batch in batches or [] for name in batch]
        target = config.sample_file or Path(ckpt_path).with_name("generated.txt")
        target.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        print("\n".join(names))
        print(f"Saved to {target}", file=sys.stderr)


def _validate_at_the_end_at_least(trainer: Any) -> None:
    """Keeps a short run from ending before its first validation, and so without a best checkpoint."""
    if isinstance(trainer.val_check_interval, int) and trainer.max_steps > 0:
        trainer.val_check_interval = min(trainer.val_check_interval, trainer.max_steps)


def _continue_in_the_same_folder(config: Any) -> None:
    """Lets a run that goes on from a checkpoint write on in the folder where it began, so that its charts are whole."""
    logger = config.trainer.logger
    if not config.ckpt_path or not hasattr(logger, "init_args"):
        return
    run = Path(config.ckpt_path).resolve().parent.parent
    if run.parent == (Path(logger.init_args.save_dir) / logger.init_args.name).resolve():
        logger.init_args.version = run.name
        # Drops what was written after the checkpoint: those steps are taken again.
        logger.init_args.purge_step = torch.load(config.ckpt_path, weights_only=True)["global_step"]


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
        save_config_kwargs={"overwrite": True},  # a run that goes on writes it again
        seed_everything_default=2147483647,
        auto_configure_optimizers=False,  # the module takes them, so that its default drops the rate half-way
    )


def main() -> None:
    """Runs the command line; a person's mistake ends it with one line and exit code 2."""
    try:
        make_cli()
    except InputError as error:
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
