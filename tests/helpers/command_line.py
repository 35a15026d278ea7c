"""Runs of train.py, in a process of its own or in the process of the tests."""

import contextlib
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import train

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(ROOT.glob("configs/*.yaml"))
RUN_FOLDER = Path("runs", "kaiming", "version_0")
"""Log folder of the first run of kaiming.yaml, relative to the working directory."""
BEST_CHECKPOINT = RUN_FOLDER / "checkpoints" / "best.ckpt"
LAST_CHECKPOINT = RUN_FOLDER / "checkpoints" / "last.ckpt"


@dataclass
class Result:
    """Exit code and output of a command."""

    code: int | str | None
    out: str
    err: str


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), *arguments]


def run_in_subprocess(folder: Path, *arguments: str) -> Result:
    """Runs train.py in a process of its own, with `folder` as working directory."""
    process = subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, timeout=120
    )
    return Result(process.returncode, process.stdout, process.stderr)


@contextlib.contextmanager
def working_directory(folder: Path) -> Iterator[None]:
    """The same as `contextlib.chdir`, which came with Python 3.11."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run_in_process(folder: Path, *arguments: str) -> Result:
    """Runs train.py in this process, which saves the seconds of importing PyTorch."""
    code: int | str | None = 0
    with (
        working_directory(folder),
        mock.patch.object(sys, "argv", ["train.py", *arguments]),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            train.main()
        except SystemExit as system_exit:
            code = system_exit.code
    return Result(code, out.getvalue(), err.getvalue())


def fit_arguments(
    lesson: str = "kaiming", steps: int = 120, *options: str
) -> list[str]:
    """Arguments of a short fit of a lesson's config."""
    return [
        "fit",
        f"--config={ROOT / 'configs' / lesson}.yaml",
        f"--trainer.max_steps={steps}",
        *options,
    ]
