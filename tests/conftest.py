"""Fixtures of all tests."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    # A network this small is many times slower with more threads.
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


@pytest.fixture(autouse=True, scope="session")
def _patient() -> None:
    """Pictures of a short fit are all drawn, also on a machine that is busy with something else."""
    # Not imported by this file: pytest would find Lightning's loggers, and put handlers of its own on them.
    from callbacks.report import reporter

    reporter.WAIT_AT_END = 120.0


@pytest.fixture(autouse=True)
def _isolated_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture(scope="session")
def makemore_names() -> Path:
    """Karpathy's own names.txt."""
    return _shared("data/names.txt")


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """Reference values, computed in plain PyTorch."""
    return json.loads(_shared("golden/golden.json").read_text())


def _shared(name: str) -> Path:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(
            f"{path} does not exist; the reference values are not part of the repository"
        )
    return path


@pytest.fixture
def few_names(tmp_path: Path) -> Path:
    """A file of 60 names: 11 training batches of 32 rows."""
    path = tmp_path / "few.txt"
    lines = (ROOT / "data" / "names.txt").read_text().splitlines()[:60]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def without_pictures() -> Iterator[None]:
    """Leaves out the pictures of the fits of a test file, which take seconds to draw."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("callbacks.report.reporter.Reporter.draw", lambda *_: None)
        yield
