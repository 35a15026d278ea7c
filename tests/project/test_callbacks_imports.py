"""Tests of the imports among the folders of callbacks, and from these to other packages."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
CALLBACKS = ROOT / "callbacks"
FILES = sorted(CALLBACKS.rglob("*.py"))
EACH_FILE = pytest.mark.parametrize(
    "path", FILES, ids=lambda path: str(path.relative_to(CALLBACKS))
)

FOLDERS = (
    *("health", "measure", "observation", "page", "probe", "ranges", "recorder"),
    *("report", "trial"),
)
MESSAGES = {"_messages", "_lightning"}
VALUES = {"_healthy", "_card"}
"""Files that import nothing of callbacks, for folders that may not import each other."""
SHARED = {"_instrument", "_fit", *MESSAGES, *FOLDERS}

ALLOWED: dict[str, set[str]] = {
    "health": {"_healthy"},
    "measure": set(),
    "observation": {"health", "measure", "probe"},
    "page": {"health", "probe", *MESSAGES, *VALUES},
    "probe": {"measure", *MESSAGES},
    "recorder": {"health", "measure", "probe", *MESSAGES},
    "ranges": {"health", "measure", "report"},
    "report": {"measure", *MESSAGES, *VALUES},
    "trial": {"_instrument", "measure", "probe", "report", *MESSAGES},
    "_lightning": set(),
    "_messages": {"_lightning"},
    "_healthy": set(),
    "_card": set(),
    "_fit": {"_overview", "measure", "probe", "report", *MESSAGES},
    "_overview": {"probe", "report"},
    "_progress_bar": set(),
    "_health_arguments": {"health", "_messages"},
    "_verdict_display": {"_fit", "_progress_bar", "health"},
    "health_check": {*SHARED, "_health_arguments", "_verdict_display"},
    "diagnose": {*SHARED, "diagnosis", "health_check"},
    "_instrument": {"_fit", "measure", "probe", "report", *MESSAGES},
}
"""What each folder or private file may import of callbacks, besides itself; instruments may import `SHARED`."""

PACKAGES: dict[str, set[str]] = {
    "health": {"numpy", "rich"},
    "measure": {"torch", "numpy"},
    "observation": {"torch"},
    "page": {
        "altair",
        "jinja2",
        "matplotlib",
        "numpy",
        "rich",
        "tensorboard",
        "vl_convert",
        "yaml",
    },
    "probe": {"torch", "numpy"},
    "recorder": {"torch", "matplotlib"},
    "ranges": {"numpy"},
    "report": {
        "torch",
        "numpy",
        "tensorboard",
        "matplotlib",
        "PIL",
        "aim",
        "comet_ml",
        "neptune",
        "trackio",
        "wandb",
    },
    "trial": {"torch", "rich"},
    "_lightning": {"lightning"},
    "_messages": set(),
    "_healthy": set(),
    "_card": {"numpy"},
    "_overview": set(),
    "_fit": {"torch"},
    "_instrument": {"torch"},
}
"""Other packages that each of them may import; instruments may import torch, too."""


class Import(NamedTuple):
    """One name that a file imports.

    Attributes:
        package: Top-level package, empty for a relative import.
        place: Folder or file of callbacks, empty for another package.
        typing_only: Whether the name is imported for type checkers alone.
    """

    package: str
    place: str
    typing_only: bool


def place_of(path: Path) -> str:
    """Returns the folder of a file, or its own name at the top of callbacks."""
    parts = path.relative_to(CALLBACKS).parts
    return parts[0] if len(parts) > 1 else path.stem


def imports_of(path: Path) -> list[Import]:
    """Returns all imports of a file, at any depth of its code."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    imports: list[Import] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            packages = [alias.name.split(".")[0] for alias in node.names]
            imports += [
                Import(package, "", id(node) in for_types) for package in packages
            ]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imports.append(
                Import(str(node.module).split(".")[0], "", id(node) in for_types)
            )
        elif isinstance(node, ast.ImportFrom):
            imports += [
                Import("", place, id(node) in for_types)
                for place in _places(path, node)
            ]
    return imports


def _places(path: Path, node: ast.ImportFrom) -> list[str]:
    """Returns the folders or files of callbacks that a relative import names."""
    folder = path.parent
    for _ in range(node.level - 1):
        folder = folder.parent
    names = (
        [node.module.split(".")[0]]
        if node.module
        else [alias.name for alias in node.names]
    )
    inside = folder.relative_to(CALLBACKS).parts
    return [inside[0]] * len(names) if inside else names


@EACH_FILE
def test_folders_import_only_allowed_folders(path: Path) -> None:
    place = place_of(path)
    imported = {
        each.place for each in imports_of(path) if each.place and not each.typing_only
    }
    if place == "__init__":
        return
    assert imported <= ALLOWED.get(place, SHARED) | {place}


@EACH_FILE
def test_types_alone_point_up(path: Path) -> None:
    """`_fit` names the type of the instruments that it calls; nothing else may."""
    upwards = [each for each in imports_of(path) if each.typing_only and each.place]
    allowed = {"_fit": {"_instrument"}}.get(
        place_of(path), ALLOWED.get(place_of(path), SHARED) | {place_of(path)}
    )
    assert {each.place for each in upwards} <= allowed


@EACH_FILE
def test_folders_import_only_allowed_packages(path: Path) -> None:
    packages = {
        each.package
        for each in imports_of(path)
        if each.package and not each.typing_only
    }
    assert packages - set(sys.stdlib_module_names) <= PACKAGES.get(
        place_of(path), {"torch"}
    )


@EACH_FILE
def test_imports_are_relative(path: Path) -> None:
    """So that the folder can be copied under any name, and knows nothing of the experiment."""
    assert not {each.package for each in imports_of(path)} & {
        "callbacks",
        "makemore_lightning",
        "train",
    }


def test_the_experiment_does_not_import_callbacks() -> None:
    for path in ROOT.glob("makemore_lightning/**/*.py"):
        tree = ast.parse(path.read_text())
        modules = [
            node.module or ""
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
        ]
        modules += [
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        ]
        assert not [
            module for module in modules if "callbacks" in module.split(".")[:2]
        ], path


def test_nothing_imports_the_installed_name() -> None:
    for path in ROOT.glob("**/*.py"):
        if not {".venv", "examples"} & set(path.parts):
            tree = ast.parse(path.read_text())
            modules = [
                node.module or ""
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom)
            ]
            modules += [
                alias.name
                for node in ast.walk(tree)
                if isinstance(node, ast.Import)
                for alias in node.names
            ]
            assert not [
                module
                for module in modules
                if module.startswith("makemore_lightning.callbacks")
            ], path


IMPORT_PROGRAM = """
import sys
import lightning.pytorch
# Imported by torchmetrics, but only where it is installed.
for name in [name for name in sys.modules if name.split(".")[0] in ("matplotlib", "PIL")]:
    del sys.modules[name]
before = set(sys.modules)
import callbacks
added = {name.split(".")[0] for name in set(sys.modules) - before}
print(*sorted(added - set(sys.stdlib_module_names)))
"""


def test_importing_callbacks_imports_no_other_package() -> None:
    """Not even matplotlib or TensorBoard, which a fit with a CSVLogger needs not have."""
    process = subprocess.run(
        [sys.executable, "-c", IMPORT_PROGRAM],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.stdout.split() == ["callbacks"], process.stderr


def test_every_folder_is_listed() -> None:
    folders = {
        path.name
        for path in CALLBACKS.iterdir()
        if path.is_dir() and any(path.glob("*.py"))
    }
    assert folders == set(FOLDERS)
    private = {path.stem for path in CALLBACKS.glob("_*.py")} - {"__init__"}
    assert private <= set(ALLOWED)
