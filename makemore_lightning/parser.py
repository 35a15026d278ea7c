"""Command-line parser whose errors are exceptions with a message of one line."""

import inspect
import shlex
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import yaml
from lightning.pytorch.cli import LightningArgumentParser

from makemore_lightning.errors import InputError
from makemore_lightning.parser_errors import in_one_line

OPTIMIZER_OPTIONS = ("--model.optimizer", "--model.optimizer.class_path")
LEARNING_RATE_OPTIONS = ("--model.optimizer.lr", "--model.optimizer.init_args.lr")

CONFIGS = Path(__file__).parents[1] / "configs"
"""The lessons' configs; only a checkout has them."""


class OneLineParser(LightningArgumentParser):
    """LightningArgumentParser that raises InputError, where its base class prints 60 lines of usage and exits."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # An abbreviated option would pass by what the command line looks for, such as --config.
        super().__init__(*arguments, **{"allow_abbrev": False, **options})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise InputError(in_one_line(message)) from ex


def option_values(arguments: Sequence[str], *names: str) -> Iterator[str]:
    """Yields the values of an option on a command line.

    Args:
        arguments: The command line.
        names: Spellings of the option, such as `--config` and `-c`.

    Example:
        >>> list(option_values(["fit", "--config", "a.yaml", "--config=b.yaml"], "--config", "-c"))
        ['a.yaml', 'b.yaml']
    """
    for position, argument in enumerate(arguments):
        name, separator, value = argument.partition("=")
        if name in names and separator:
            yield value
        elif name in names and position + 1 < len(arguments):
            yield arguments[position + 1]


def check_config(path: str) -> None:
    """Checks that a config can be read, for jsonargparse names neither the file nor what it expects.

    Raises:
        InputError: If there is no such file, or it is no YAML mapping.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"--config {path}: {error.strerror}. {configs_to_choose_from()}"
        ) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(
            f"--config {path}, line {line}: no valid YAML, {error.problem}"
        ) from error
    except ValueError as error:
        raise InputError(f"--config {path}: no YAML, {error}") from error
    if not isinstance(content, dict):
        raise InputError(
            f"--config {path}: expected the sections trainer, model and data, as in configs/kaiming.yaml"
        )


def check_seed(seed: int | bool) -> None:
    """Checks that NumPy accepts a seed.

    Raises:
        InputError: If the seed is negative or has more than 32 bits.
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed_everything must be from 0 to {2**32 - 1}, got {seed}")


def configs_to_choose_from() -> str:
    """Returns a sentence that names the lessons' configs."""
    names = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.yaml")))
    return f"The lessons in configs/ are {names}"


def without_option(arguments: Sequence[str], name: str) -> list[str]:
    """Returns a command line without an option and its value.

    Example:
        >>> without_option(["fit", "--a", "1", "--b=2", "--a=3"], "--a")
        ['fit', '--b=2']
    """
    remaining = []
    is_value = False
    for argument in arguments:
        if argument == name:
            is_value = True
        elif is_value or argument.startswith(f"{name}="):
            is_value = False
        else:
            remaining.append(argument)
    return remaining


def shell_command(*arguments: str) -> str:
    """Returns the command that runs this program with other arguments."""
    return shlex.join(["python", sys.argv[0], *arguments])


def use_own_learning_rate(
    model: Any, arguments: Sequence[str], configs: Sequence[str]
) -> None:
    """Replaces the learning rate that an optimizer on the command line has from the optimizer of the config.

    jsonargparse keeps the arguments of a class for another class that has arguments of the same names.

    Args:
        model: The parsed arguments of the model, changed in place.
        arguments: The command line.
        configs: Paths of the configs, the last one first in rank.

    Raises:
        InputError: If the optimizer has no default.
    """
    optimizer = model.optimizer
    has_rate = any(option_values(arguments, *LEARNING_RATE_OPTIONS))
    if not any(option_values(arguments, *OPTIMIZER_OPTIONS)) or has_rate:
        return
    module, _, name = optimizer.class_path.rpartition(".")
    configured = _optimizer_of(configs)
    if configured in (None, name):
        return
    parameters = inspect.signature(getattr(import_module(module), name)).parameters
    default = parameters["lr"].default if "lr" in parameters else None
    if not isinstance(default, float):
        raise InputError(
            f"--model.optimizer {name}: give --model.optimizer.init_args.lr as well"
        )
    optimizer.init_args.lr = default
    print(
        f"{name} trains with its own learning rate, {default:g}; the config's is for {configured}. "
        "Another: --model.optimizer.init_args.lr",
        file=sys.stderr,
    )


def _optimizer_of(configs: Sequence[str]) -> str | None:
    """Returns the class name of the optimizer in the last config that has one."""
    for path in reversed(configs):
        model = yaml.safe_load(Path(path).read_text(encoding="utf-8")).get("model", {})
        optimizer = model.get("optimizer")
        if optimizer:
            return optimizer["class_path"].rpartition(".")[2]
    return None
