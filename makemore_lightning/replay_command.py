"""Command `replay`: runs the step of a bundle of FlightRecorder again, with the network that its config describes."""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from makemore_lightning.errors import InputError

CONFIG = "config.yaml"

SECTIONS = ("seed_everything", "threads", "model", "data")
"""Sections of a config that a network and its data follow from."""

MakeModel = Callable[[str], tuple[Any, Any]]
"""Returns the network and the data of a config, given its path."""


def run_replay(
    arguments: Sequence[str], replay: Callable[..., Any], make_model: MakeModel
) -> None:
    """Runs `replay`.

    Args:
        arguments: Those after the word `replay`.
        replay: `replay` of the callbacks, which this package does not import.
        make_model: Returns the network and the data of a config.

    Raises:
        InputError: If the folder is no bundle, or is that of another project.
    """
    parsed = parser().parse_args(list(arguments))
    bundle = Path(parsed.bundle)
    model, data = model_of(bundle, make_model)
    try:
        result = replay(bundle, model, data, accelerator=parsed.accelerator)
    except ValueError as error:
        raise InputError(str(error)) from error
    print(json.dumps(result.to_dict(), indent=2) if parsed.json else result)


def model_of(bundle: Path, make_model: MakeModel) -> tuple[Any, Any]:
    """Returns the network and the data of the config in a bundle.

    Raises:
        InputError: If there is none, or it is no config of this project.
    """
    path = bundle / CONFIG
    if not path.is_file():
        raise InputError(
            f"{bundle} has no {CONFIG}: give a folder that FlightRecorder wrote in a run of train.py. For another "
            "project's there is replay(bundle, model) in Python"
        )
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    sections = {name: content[name] for name in SECTIONS if name in content}
    if "model" not in sections or "data" not in sections:
        raise InputError(f"{path} is no config of train.py: it has no model and data")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / CONFIG
        config.write_text(yaml.safe_dump(sections), encoding="utf-8")
        return make_model(str(config))


def parser() -> ArgumentParser:
    """Returns the parser of the command's arguments."""
    parser = ArgumentParser(
        prog="train.py replay",
        description="Runs the step of a bundle again, and prints where it went wrong.",
    )
    parser.add_argument(
        "bundle", metavar="BUNDLE", help="folder that FlightRecorder wrote"
    )
    parser.add_argument("--accelerator", default="auto", help="such as cpu")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser
