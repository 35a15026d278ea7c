"""The arrows between the parts: who may import whom."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTRUMENTS = sorted(ROOT.glob("callbacks/**/*.py"))


def imported(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", INSTRUMENTS, ids=lambda path: path.stem)
def test_the_instruments_know_nothing_but_themselves_and_the_frameworks(path: Path) -> None:
    assert not {name for name in imported(path) if name.split(".")[0] in ("makemore_lightning", "callbacks", "train")}


def test_nothing_imports_the_installed_name() -> None:
    for path in ROOT.glob("**/*.py"):
        if ".venv" not in path.parts:
            assert not {name for name in imported(path) if name.startswith("makemore_lightning.callbacks")}, path
