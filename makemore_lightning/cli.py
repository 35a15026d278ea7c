"""Command line of the experiment: LightningCLI with subcommands fit, validate, test, predict and diagnose."""

import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import PositiveInt
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader

from makemore_lightning.datamodule import NamesDataModule
from makemore_lightning.diagnose_command import (
    Diagnose,
    DiagnosingCLI,
    DiagnosingTrainer,
)
from makemore_lightning.errors import InputError
from makemore_lightning.framework_messages import filter_framework_messages
from makemore_lightning.layer_summary import LayerSummary
from makemore_lightning.loop_overhead import NullProfiler
from makemore_lightning.module import MakemoreModule
from makemore_lightning.next_commands import command_to_go_on, commands_after_fit
from makemore_lightning.parser import (
    OneLineParser,
    check_config,
    check_seed,
    configs_to_choose_from,
    option_values,
    use_own_learning_rate,
)
from makemore_lightning.parser_errors import in_one_line, with_suggestion
from makemore_lightning.progress import StepProgress
from makemore_lightning.replay_command import run_replay
from makemore_lightning.report_commands import COMMANDS, run_command
from makemore_lightning.resume import (
    Checkpoint,
    load_checkpoint,
    logger_arguments_to_continue,
    refuse_other_arguments,
    training_data_arguments,
)
from makemore_lightning.run_folder import new_run_folder, next_version_folder
from makemore_lightning.sampling import SampleRequest
from makemore_lightning.trainer_arguments import (
    check_trainer_arguments,
    validation_arguments,
)

DEFAULT_SEED = 2147483647
"""The seed of the notes."""

RUNS = Path("runs")
"""Folder of all runs."""

VALIDATIONS = 10
"""Validations of a run whose config leaves their interval open, besides the one before the first step."""


class MakemoreCLI(DiagnosingCLI):
    """LightningCLI with a CPU thread count, a step progress bar, resuming of runs, and sampling in `predict`."""

    resumes_in_place = False
    """True if `fit` continues a run in the folder of that run."""
    command_line: list[str]
    """The arguments as they were typed."""

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
        self.command_line = list(sys.argv[1:] if args is None else args)
        configs = list(option_values(self.command_line, "--config", "-c"))
        for path in configs:
            check_config(path)
        try:
            super().parse_arguments(parser, args)
        except InputError as error:
            message = with_suggestion(str(error), self._option_names())
            raise InputError(message) from error
        if self._needs_config() and not configs:
            raise InputError(
                f"{self.config.subcommand} needs a lesson, such as --config configs/kaiming.yaml. "
                f"{configs_to_choose_from()}"
            )
        use_own_learning_rate(self.arguments.model, self.command_line, configs)
        check_trainer_arguments(self.arguments.trainer)
        check_seed(self.arguments.seed_everything)
        path = self.arguments.get("ckpt_path")
        if path is not None and Path(path).is_file():
            # LightningCLI loads it next, without a word on what is wrong with a file.
            load_checkpoint(path)
        # Copied because LightningCLI next replaces them with the hyperparameters of the checkpoint.
        self.requested_model = self.arguments.model.clone()

    def _needs_config(self) -> bool:
        if self.config.subcommand == "diagnose":
            return not self.arguments.compare
        return self.config.subcommand == "fit"

    def _option_names(self) -> list[str]:
        actions = self._parser("fit")._actions
        return [name for action in actions for name in action.option_strings]

    @property
    def arguments(self) -> Any:
        """The parsed arguments of the subcommand."""
        return self.config[self.config.subcommand]

    def before_instantiate_classes(self) -> None:
        torch.set_num_threads(self.arguments.threads)
        if self.subcommand == "diagnose":
            self.configure_diagnose()
            return
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
        arguments = self.arguments
        defaults = self._parser(self.subcommand).get_defaults().data
        replaced = training_data_arguments(arguments.data, defaults, checkpoint)
        for name, value in replaced.items():
            arguments.data[name] = value
        # Only training writes a log folder.
        arguments.trainer.logger = False
        if self.subcommand == "predict":
            # A request is one batch: each of several processes would answer it.
            arguments.trainer.devices = 1

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except (ValueError, TypeError, ImportError, MisconfigurationException) as error:
            # Constructors check the arguments that the user gave.
            raise InputError(in_one_line(str(error))) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = self.arguments.trainer
        self._add_progress_bar()
        if trainer.enable_model_summary is not False:
            self.trainer_defaults["callbacks"].append(LayerSummary())
            kwargs["enable_model_summary"] = False  # Lightning's own
        if trainer.profiler is None:
            kwargs["profiler"] = NullProfiler()
        if trainer.default_root_dir is None:
            # Not in the arguments: a run of the saved config has a folder of its own.
            has_logger = trainer.logger is not False
            folder = RUNS if has_logger else next_version_folder(RUNS)
            kwargs["default_root_dir"] = str(folder)
        interval = trainer.val_check_interval
        if interval is None:
            self.model.validations = VALIDATIONS
        return super().instantiate_trainer(**validation_arguments(interval), **kwargs)

    def _add_progress_bar(self) -> None:
        trainer = self.config_init[str(self.subcommand)].trainer
        callbacks = trainer.callbacks or []
        if isinstance(callbacks, Callback):
            callbacks = [callbacks]
        has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
        if trainer.enable_progress_bar is not False and not has_bar:
            self.trainer_defaults["callbacks"].append(StepProgress())

    def fit(self, **arguments: Any) -> None:
        """Trains; a run that ends before its first step leaves no folder."""
        folder = self.trainer.log_dir
        if folder is None or not self.trainer.is_global_zero:
            self.trainer.fit(**arguments)
            return
        with new_run_folder(Path(folder), lambda: self.trainer.global_step == 0):
            if not self.resumes_in_place:
                self._save_config(Path(folder))
            self._fit_and_say_how_to_go_on(arguments)

    def _save_config(self, folder: Path) -> None:
        # Here because SaveConfigCallback would add a hook to every step. A resumed run keeps its first config.
        for logger in self.trainer.loggers:
            if isinstance(logger, CSVLogger):
                # It warns of a folder that is not empty.
                _ = logger.experiment
        self._parser("fit").save(
            self.arguments, folder / "config.yaml", skip_unset=False, overwrite=True
        )

    def _fit_and_say_how_to_go_on(self, arguments: dict[str, Any]) -> None:
        try:
            self.trainer.fit(**arguments)
        except SystemExit:
            command = command_to_go_on(self.trainer, self.command_line)
            if command is not None:
                print(f"Go on with:\n{command}", file=sys.stderr)
            raise

    def after_fit(self) -> None:
        # No collective operation, such as Trainer.log_dir, after this test.
        if not self.trainer.is_global_zero:
            return
        print("\n".join(commands_after_fit(self.trainer)))

    def instantiated(self, arguments: list[str]) -> "MakemoreCLI":
        """Returns the network and the data of another command line."""
        return make_cli(arguments, only_instantiates=True)

    def predict(self, model: LightningModule, ckpt_path: str, **_: Any) -> None:
        """Prints names sampled from a checkpoint, and saves them to a file."""
        arguments = self.config_init[str(self.subcommand)]
        requests = DataLoader([arguments.sample], batch_size=None)  # type: ignore[arg-type]  any sequence will do
        batches = self.trainer.predict(model, requests, ckpt_path=ckpt_path) or []
        names = list(chain.from_iterable(batches))
        print("\n".join(names))
        path = arguments.sample_file or Path(ckpt_path).with_name("generated.txt")
        save_names(names, path)
        print(f"Saved to {path}", file=sys.stderr)


def save_names(names: list[str], path: Path) -> None:
    """Writes one name a line.

    Raises:
        InputError: If the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"the names above are not saved, {path}: {error.strerror}. Give another file with --sample_file"
        ) from error


def make_cli(
    arguments: list[str] | None = None,
    callbacks: Sequence[Callback] = (),
    functions: Mapping[str, Diagnose] | None = None,
    only_instantiates: bool = False,
) -> MakemoreCLI:
    """Runs a command line.

    Args:
        arguments: Such as `["fit", "--config=configs/kaiming.yaml"]`; None = `sys.argv[1:]`.
        callbacks: Added to the callbacks of the config.
        functions: `diagnose` and `coordinate_check`, by name, for the subcommand `diagnose`.
        only_instantiates: Whether `diagnose` leaves it at the network and its data.

    Returns:
        The command line after its run, with `trainer`, `model` and `datamodule`.

    Raises:
        InputError: If an argument, a file of names or a checkpoint cannot be used.
    """
    filter_framework_messages()
    return MakemoreCLI(
        MakemoreModule,
        NamesDataModule,
        functions=functions,
        only_instantiates=only_instantiates,
        trainer_class=DiagnosingTrainer,
        args=arguments,
        trainer_defaults={"callbacks": list(callbacks)},
        parser_class=OneLineParser,
        save_config_callback=None,  # see _save_config
        seed_everything_default=DEFAULT_SEED,
        auto_configure_optimizers=False,  # MakemoreModule takes them as arguments, with a schedule as default
    )


def network_of(config: str) -> tuple[LightningModule, LightningDataModule]:
    """Returns the network of a config, and its data."""
    cli = make_cli(["diagnose", f"--config={config}"], only_instantiates=True)
    return cli.model, cli.datamodule


def main(functions: Mapping[str, Diagnose] | None = None) -> None:
    """Runs `sys.argv`; an error in the user's input is printed as one line, with exit code 2.

    Args:
        functions: See `make_cli`; also `write_report`, `diff_runs`, `compare_runs` and `replay`, for the commands that
            train nothing.
    """
    try:
        if sys.argv[1:2] and sys.argv[1] in COMMANDS:
            run_command(sys.argv[1:], functions or {})
        elif sys.argv[1:2] == ["replay"]:
            run_replay(sys.argv[2:], (functions or {})["replay"], network_of)
        else:
            make_cli(functions=functions)
    except (InputError, MisconfigurationException) as error:
        message = " ".join(str(error).split())
        # Of several processes, each fails in the same way.
        if getattr(rank_zero_only, "rank", 0) == 0:
            print(f"error: {message}", file=sys.stderr)
        sys.exit(2)
