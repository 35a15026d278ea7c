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
        functions: `write_report` and `compare_runs` of the callbacks, which this package does not import.

    Raises:
        InputError: If a folder has no runs, or a file cannot be written.
    """
    command, *options = arguments
    parsed = parser_of(command).parse_args(options)
    try:
        if command == "compare":
            table = functions["compare_runs"](parsed.runs)
            if sys.stdout.isatty():
                Console().print(table)
            else:
                print(table, end="")
        else:
            page = functions["write_report"](parsed.runs, parsed.output)
            print(f"{page}, and the same for programs beside it: .json and .md")
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from error


def parser_of(command: str) -> ArgumentParser:
    """Returns the parser of a command's arguments."""
    descriptions = {
        "report": "Writes one page about one run, or several side by side.",
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
    return parser
