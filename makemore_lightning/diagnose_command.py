"""Subcommand `diagnose`: the verdict on configs before their training, and on their scale over widths."""

import contextlib
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse.typing import PositiveInt
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from rich.console import Console
from rich.table import Table

from makemore_lightning.errors import InputError

PRINTED = "-"
"""Value of `--json` without a file."""

EXIT_CODES = {"ok": 0, "warn": 0, "fail": 2}
STRICT_EXIT_CODES = {"ok": 0, "warn": 1, "fail": 2}

TRAINER_ARGUMENTS = (
    "accelerator",
    "accumulate_grad_batches",
    "gradient_clip_algorithm",
    "gradient_clip_val",
    "max_epochs",
    "max_steps",
    "precision",
)
"""Arguments of the Trainer that decide on a training step."""

Diagnose = Callable[..., Any]
"""`diagnose` or `coordinate_check` of the callbacks, which this package does not import."""


class DiagnosingTrainer(Trainer):
    """Trainer with a subcommand `diagnose`."""

    def diagnose(
        self, model: LightningModule, datamodule: LightningDataModule | None = None
    ) -> None:
        """Tries a few training steps on a copy and prints what is wrong; writes nothing."""
        raise NotImplementedError  # MakemoreCLI.diagnose


class DiagnosingCLI(LightningCLI):
    """LightningCLI with the subcommand `diagnose`.

    Args:
        functions: `diagnose` and `coordinate_check`, by name.
        only_instantiates: Whether `diagnose` leaves it at the network and its data.
    """

    command_line: list[str]
    """The arguments as they were typed."""
    arguments: Any
    """The parsed arguments of the subcommand."""

    def __init__(
        self,
        *arguments: Any,
        functions: Mapping[str, Diagnose] | None = None,
        only_instantiates: bool = False,
        **options: Any,
    ) -> None:
        self._functions = dict(functions or {})
        self._only_instantiates = only_instantiates
        words = sys.argv[1:] if options.get("args") is None else options["args"]
        with quiet() if "diagnose" in words[:1] else contextlib.nullcontext():
            super().__init__(*arguments, **options)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        diagnose = {"diagnose": {"model", "datamodule"}}
        return LightningCLI.subcommands() | diagnose

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "diagnose":
            add_arguments(parser)
        return parser

    def configure_diagnose(self) -> None:
        """Leaves out what a trial has no use for: it has a Trainer of its own."""
        trainer = self.arguments.trainer
        trainer.logger, trainer.callbacks = False, None
        trainer.enable_progress_bar = trainer.enable_model_summary = False
        trainer.enable_checkpointing = False

    def instantiated(self, arguments: list[str]) -> "DiagnosingCLI":
        """Returns the network and the data of another command line."""
        raise NotImplementedError

    def diagnose(self, model: LightningModule, **_: Any) -> None:
        """Prints the verdict on the network before its training, and exits with its code.

        Raises:
            InputError: If an argument, a config or a file cannot be used.
        """
        if self._only_instantiates:
            return
        arguments = self.arguments
        if arguments.widths:
            results = {"": self._over_widths(arguments)}
        elif arguments.compare:
            results = {}
            for path in arguments.compare:
                # One after the other: each begins with the seed of its config.
                results[path] = self._try(self._with(config=path))
        else:
            results = {"": self._try(self)}
        code = show(results, arguments)
        if arguments.picture:
            save_picture(results, arguments.picture)
        if code:
            sys.exit(code)

    def _with(self, config: str) -> "DiagnosingCLI":
        """Returns the network and the data of a config, with the options of this command line."""
        _, *options = self.command_line
        return self.instantiated(["diagnose", f"--config={config}", *options])

    def _try(self, cli: "DiagnosingCLI") -> Any:
        """Returns the diagnosis of the network and the data of a command line."""
        arguments = cli.arguments
        options = trial_options(arguments)
        return self._call(
            "diagnose",
            cli.model,
            cli.datamodule,
            steps=arguments.steps,
            ignore=arguments.ignore,
            **options,
        )

    def _over_widths(self, arguments: Any) -> Any:
        """Returns the coordinate check of the network with hidden layers of several widths."""
        layers = len(arguments.model.hidden_sizes)

        def make_model(width: int) -> LightningModule:
            sizes = json.dumps([width] * layers)
            option = f"--model.hidden_sizes={sizes}"
            return self.instantiated([*self.command_line, option]).model

        options = trial_options(arguments)
        return self._call(
            "coordinate_check", make_model, self.datamodule, arguments.widths, **options
        )

    def _call(self, name: str, *values: Any, **options: Any) -> Any:
        if name not in self._functions:
            raise InputError("diagnose needs the callbacks: python train.py diagnose")
        try:
            return self._functions[name](*values, **options)
        except ValueError as error:
            raise InputError(str(error)) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Leaves out Lightning's messages on seeds, devices and the command line."""
    loggers = [
        logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "LightningCLI's args parameter")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def add_arguments(parser: LightningArgumentParser) -> None:
    """Adds the arguments of the subcommand."""
    parser.add_argument(
        "--steps", type=PositiveInt, default=16, help="trial steps of each network"
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const=PRINTED,
        metavar="FILE",
        help="print JSON, or write it to a file",
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit code 1 where there are warnings"
    )
    parser.add_argument(
        "--ignore", nargs="+", metavar="RULE", help="rules that are not judged"
    )
    parser.add_argument(
        "--compare", nargs="+", metavar="CONFIG", help="configs, side by side"
    )
    parser.add_argument(
        "--widths",
        nargs="+",
        type=PositiveInt,
        metavar="WIDTH",
        help="widths of the hidden layers, for the scale of activations and updates over them",
    )
    parser.add_argument(
        "--picture", metavar="FILE", help="where to save a picture of --widths"
    )


def trial_options(arguments: Any) -> dict[str, Any]:
    """Returns the arguments of `diagnose` and `coordinate_check` that both have.

    Args:
        arguments: Parsed arguments of the subcommand.
    """
    trainer = arguments.trainer
    options = {name: trainer[name] for name in TRAINER_ARGUMENTS}
    return {name: value for name, value in options.items() if value is not None}


def show(results: Mapping[str, Any], arguments: Any) -> int:
    """Prints results, or writes them as JSON, and returns the exit code.

    Args:
        results: Diagnosis or coordinate check of each config; of more than one, a table side by side is printed.
        arguments: Parsed arguments of the subcommand.
    """
    if arguments.json is not None:
        write_json(results, arguments.json)
    if arguments.json != PRINTED:
        console = Console(highlight=False)
        if len(results) > 1:
            console.print(side_by_side(results))
        else:
            console.print(*results.values())
    codes = STRICT_EXIT_CODES if arguments.strict else EXIT_CODES
    return max(codes[result.verdict] for result in results.values())


def write_json(results: Mapping[str, Any], file: str) -> None:
    """Prints or writes one object, or of several configs one object with an object a config.

    Raises:
        InputError: If the file cannot be written.
    """
    objects = {name: result.to_dict() for name, result in results.items()}
    content: Any = objects if len(objects) > 1 else next(iter(objects.values()))
    text = json.dumps(content, indent=2, allow_nan=False)
    if file == PRINTED:
        print(text)
        return
    try:
        Path(file).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--json {file}: {error.strerror}") from error


def side_by_side(results: Mapping[str, Any]) -> Table:
    """Returns a table with a row a metric and a column a config."""
    table = Table("", *short_names(list(results)), box=None, pad_edge=False)
    columns = [result.metrics() for result in results.values()]
    for metric in columns[0]:
        table.add_row(metric, *(column[metric] for column in columns))
    return table


def short_names(paths: Sequence[str]) -> list[str]:
    """Returns the names of files without folder and suffix, unless two would be the same.

    Example:
        >>> short_names(["configs/naive.yaml", "configs/tanh.yaml"])
        ['naive', 'tanh']
    """
    stems = [Path(path).stem for path in paths]
    return stems if len(set(stems)) == len(stems) else list(paths)


def save_picture(results: Mapping[str, Any], file: str) -> None:
    """Saves the picture of a coordinate check.

    Raises:
        InputError: If there is none, the file cannot be written, or its suffix is no format of pictures.
    """
    result = next(iter(results.values()))
    if not hasattr(result, "figure"):
        raise InputError("--picture is of --widths, such as --widths 64 128 256")
    try:
        result.figure().savefig(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"--picture {file}: {reason}") from error
    print(f"Saved to {file}", file=sys.stderr)
