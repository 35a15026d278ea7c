"""Bundle: a folder with all that is known of a step in which something went wrong."""

import contextlib
import json
import pickle
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .._messages import InstrumentError
from .numbers_table import read_numbers, write_numbers
from .plain import from_plain, without_left_out
from .rows import Numbers

FORMAT = 1
"""Version of the files."""

FACTS, NUMBERS, BATCHES, STATE = "bundle.json", "ring.csv", "batches.pt", "state.pt"


@dataclass(frozen=True)
class Bundle:
    """Contents of a bundle.

    Attributes:
        facts: What happened, where, under which versions and settings; see `bundle.json`.
        numbers: Numbers of the last steps, ascending.
        batches: Batches with their step, number, epoch, random states and counts, ascending.
        state: State before the first of the batches: its step, parameters, buffers, optimizers; None without one.
    """

    facts: dict[str, Any]
    numbers: Sequence[Numbers]
    batches: Sequence[dict[str, Any]]
    state: dict[str, Any] | None

    @property
    def step(self) -> int:
        """Step in which something was out of line first."""
        return self.facts["first"]["step"]


def write_bundle(folder: Path, bundle: Bundle) -> None:
    """Writes the files that a program reads; the folder must exist, and objects must be plain (see `to_plain`)."""
    facts = {"format": FORMAT, **bundle.facts}
    text = json.dumps(facts, indent=2, default=str, allow_nan=False)
    (folder / FACTS).write_text(text + "\n", encoding="utf-8")
    write_numbers(folder / NUMBERS, bundle.numbers)
    torch.save(bundle.batches, folder / BATCHES)
    if bundle.state is not None:
        torch.save(bundle.state, folder / STATE)


def read_bundle(path: str | Path) -> Bundle:
    """Reads a bundle; nothing in its files is executed.

    Raises:
        InstrumentError: If the folder is no bundle, is damaged, or was written by a newer version.
    """
    folder = Path(path)
    if not (folder / FACTS).is_file():
        raise InstrumentError(
            f"{folder} is no bundle of FlightRecorder: it has no {FACTS}. {_bundles_near(folder)}"
        )
    try:
        return _read(folder)
    except InstrumentError:
        raise
    except (
        OSError,
        LookupError,
        RuntimeError,
        EOFError,
        TypeError,
        ValueError,
    ) as error:
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InstrumentError(f"{folder} is damaged: {cause}") from error
    except pickle.UnpicklingError as error:
        raise InstrumentError(f"{folder} is damaged: a file is no bundle's") from error


def _read(folder: Path) -> Bundle:
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    if facts["format"] > FORMAT:
        raise InstrumentError(
            f"{folder} was written by a newer version: its format is {facts['format']}, and {FORMAT} is known"
        )
    state = folder / STATE
    return Bundle(
        facts,
        read_numbers(folder / NUMBERS),
        _load(folder / BATCHES),
        _load(state) if state.is_file() else None,
    )


def _load(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _bundles_near(folder: Path) -> str:
    """Returns a hint at the bundles in a folder."""
    bundles = sorted(str(path.parent) for path in folder.glob(f"**/{FACTS}"))
    return f"There are: {', '.join(bundles[:5])}" if bundles else "There is none in it."


def batches_of(bundle: Bundle) -> list[dict[str, Any]]:
    """Returns the batches as the training step got them.

    Raises:
        InstrumentError: If a batch is of a class that the program has not imported, or that is made in another way.
    """
    return [_object_of(batch) for batch in bundle.batches]


def state_of(bundle: Bundle) -> dict[str, Any] | None:
    """Returns the state of a bundle; raises as `batches_of`.

    Objects of optimizers and schedulers that could not be written are left out: those of the new ones stay.
    """
    return bundle.state and _object_of(without_left_out(bundle.state))


def _object_of(value: Any) -> Any:
    try:
        return from_plain(value)
    except LookupError as error:
        raise InstrumentError(str(error.args[0])) from error
    except TypeError as error:
        raise InstrumentError(
            f"an object of the bundle cannot be made: {error}"
        ) from error


def free_path(parent: Path, name: str) -> Path:
    """Returns the path of a bundle that is to be written: with a number where the name is taken."""
    path, number = parent / name, 1
    while path.exists():
        number += 1
        path = parent / f"{name}_{number}"
    return path


@contextlib.contextmanager
def written_as_a_whole(path: Path) -> Iterator[Path]:
    """Yields a folder to write to, which gets its name at the end; nothing is left of one that could not be written."""
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
