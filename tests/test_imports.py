"""The arrows between the parts: who may import whom."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXPERIMENT = sorted(ROOT.glob("makemore_lightning/**/*.py"))
INSTRUMENTS = sorted(ROOT.glob("callbacks/**/*.py"))
ALLOWED = {
    "errors": set(),
    "vocabulary": {"errors"},
    "names": {"errors", "vocabulary"},
    "batches": set(),
    "initialization": {"errors"},
    "model": {"errors", "initialization"},
    "metrics": set(),
    "sampling": {"errors", "vocabulary"},
    "lean_loop": set(),
    "datamodule": {"batches", "errors", "names", "vocabulary"},
    "module": {"errors", "initialization", "lean_loop", "metrics", "model", "sampling", "vocabulary"},
    "last_checkpoint": set(),
    "progress": set(),
    "__init__": {"datamodule", "errors", "model", "module"},
}


def imported(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(path: Path) -> set[str]:
    """The files of the experiment that a file of it imports."""
    stems = {file.stem for file in EXPERIMENT}
    parts = (name.split(".") for name in imported(path) if name.startswith("makemore_lightning."))
    return {part[1] for part in parts} & stems


def test_every_file_has_its_place() -> None:
    assert {path.stem for path in EXPERIMENT} == set(ALLOWED)


@pytest.mark.parametrize("path", EXPERIMENT, ids=lambda path: path.stem)
def test_arrows_within_the_experiment(path: Path) -> None:
    assert ours(path) <= ALLOWED[path.stem]


@pytest.mark.parametrize("path", EXPERIMENT, ids=lambda path: path.stem)
def test_the_experiment_knows_no_instruments(path: Path) -> None:
    assert not {name for name in imported(path) if "callbacks" in name.split(".")[:2]}
    assert "train" not in imported(path)


@pytest.mark.parametrize("path", INSTRUMENTS, ids=lambda path: path.stem)
def test_the_instruments_know_nothing_but_themselves_and_the_frameworks(path: Path) -> None:
    assert not {name for name in imported(path) if name.split(".")[0] in ("makemore_lightning", "callbacks", "train")}


def test_nothing_imports_the_installed_name() -> None:
    for path in ROOT.glob("**/*.py"):
        if ".venv" not in path.parts:
            assert not {name for name in imported(path) if name.startswith("makemore_lightning.callbacks")}, path


@pytest.mark.parametrize("name", ["lightning", "torchmetrics"])
def test_the_network_is_plain_pytorch(name: str) -> None:
    for stem in ("model", "initialization", "batches", "vocabulary"):
        roots = {found.split(".")[0] for found in imported(ROOT / "makemore_lightning" / f"{stem}.py")}
        assert name not in roots
