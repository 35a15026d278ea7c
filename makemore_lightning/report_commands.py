"""Commands `report` and `compare`, on the event files of runs that have ended."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentParser
from rich.console import Console

from makemore_lightning.errors import InputError

COMMANDS = ("report", "compare")


def run_command(
    arguments: Sequence[str], functions: Mapping[str, Callable[..., Any]]
) -> None:
    """Runs `report` or `compare`.

    Args:
        arguments: The command and its arguments.
        functions: `write_report`, `diff_runs` and `compare_runs` of the callbacks, which this package does not import.

    Raises:
        InputError: If a folder has no runs, or a file cannot be written.
    """
    command, *options = arguments
    parsed = parser_of(command).parse_args(options)
    try:
        if command == "compare":
            show(functions["compare_runs"](parsed.runs))
        elif parsed.diff:
            difference = diff(parsed.runs, parsed.tolerance, functions["diff_runs"])
            show(difference)
            sys.exit(0 if difference.is_equal else 1)
        else:
            write = functions["write_report"]
            page = write(parsed.runs, parsed.output, hover=parsed.hover)
            print(f"{page}, and the same for programs beside it: .json and .md")
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from error


def diff(
    runs: Sequence[str], tolerance: float | None, function: Callable[..., Any]
) -> Any:
    """Returns the difference of two runs.

    Raises:
        InputError: If there are not two.
    """
    if len(runs) != 2:
        raise InputError(f"--diff compares two runs: give two folders, not {len(runs)}")
    return function(*runs, **({} if tolerance is None else {"tolerance": tolerance}))


def show(table: Any) -> None:
    """Prints a table: in colors in a terminal, else as Markdown."""
    if sys.stdout.isatty():
        Console().print(table)
    else:
        print(table, end="")


def parser_of(command: str) -> ArgumentParser:
    """Returns the parser of a command's arguments."""
    descriptions = {
        "report": "Writes one page about one run, or several side by side; or compares two, step by step.",
        "compare": "Prints a row of numbers a run, and the settings that differ.",
    }
    parser = ArgumentParser(
        prog=f"train.py {command}", description=descriptions[command]
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="folder with event files, or of such"
    )
    if command == "report":
        parser.add_argument("--output", metavar="FILE", help="file of the page, .html")
        parser.add_argument(
            "--hover",
            action="store_true",
            help="curves that show layer, step and value under the mouse",
        )
        parser.add_argument(
            "--diff",
            action="store_true",
            help="print where two runs part instead; exit code 1 if they do",
        )
        parser.add_argument(
            "--tolerance",
            type=float,
            help="of --diff: relative difference that is equal (default: 1e-5)",
        )
    return parser
