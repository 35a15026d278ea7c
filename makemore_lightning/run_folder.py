"""Folders of runs: the next free one, and removal after a failed start."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from makemore_lightning.errors import InputError


def next_version_folder(parent: Path) -> Path:
    """Returns `parent/version_N` with the lowest N above all there are.

    Example:
        >>> next_version_folder(Path("no_such_folder"))
        PosixPath('no_such_folder/version_0')
    """
    suffixes = [path.name.removeprefix("version_") for path in parent.glob("version_*")]
    numbers = [int(suffix) for suffix in suffixes if suffix.isdigit()]
    return parent / f"version_{max(numbers, default=-1) + 1}"


@contextlib.contextmanager
def new_run_folder(folder: Path, is_empty: Callable[[], bool]) -> Iterator[None]:
    """Creates the folder of a run, and removes it again if the run fails before anything is in it.

    A folder that existed before stays.

    Args:
        folder: The folder.
        is_empty: Called after an exception: True if the run has written nothing of worth.

    Raises:
        InputError: If the folder cannot be created.
    """
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: {error.strerror}. Give a folder for the runs that can be written to, with "
            "--trainer.logger.init_args.save_dir"
        ) from error
    try:
        yield
    except BaseException:
        if folder in created and is_empty():
            shutil.rmtree(folder, ignore_errors=True)
            _remove_empty(created)
        raise


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        # Another run may have written to a parent meanwhile.
        with contextlib.suppress(OSError):
            folder.rmdir()
