"""Tests of the imports among the modules of makemore_lightning, and from these to other packages."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(ROOT.glob("makemore_lightning/**/*.py"))
ALLOWED = {
    "errors": set(),
    "charts": set(),
    "optimization": {"errors"},
    "framework_messages": set(),
    "next_commands": {"last_checkpoint", "parser"},
    "vocabulary": {"errors"},
    "names": {"errors", "vocabulary"},
    "batches": set(),
    "initialization": {"errors"},
    "model": {"errors", "initialization"},
    "logged_steps": set(),
    "metrics": set(),
    "sampling": {"errors", "vocabulary"},
    "loop_overhead": set(),
    "datamodule": {"batches", "errors", "names", "vocabulary"},
    "module": {
        "charts",
        "errors",
        "hparams",
        "initialization",
        "logged_steps",
        "loop_overhead",
        "metrics",
        "model",
        "optimization",
        "sampling",
        "vocabulary",
    },
    "diagnose_command": {"errors"},
    "replay_command": {"errors"},
    "report_commands": {"errors"},
    "last_checkpoint": set(),
    "hparams": {"initialization", "model"},
    "layer_summary": set(),
    "parser": {"errors", "parser_errors"},
    "parser_errors": set(),
    "run_folder": {"errors"},
    "trainer_arguments": {"errors"},
    "progress": set(),
    "resume": {"errors"},
    "cli": {
        *(
            "datamodule",
            "diagnose_command",
            "errors",
            "framework_messages",
            "layer_summary",
            "loop_overhead",
            "module",
            "next_commands",
            "parser",
            "parser_errors",
            "progress",
            "replay_command",
            "report_commands",
            "resume",
            "run_folder",
            "sampling",
            "trainer_arguments",
        ),
    },
    "__init__": {"datamodule", "errors", "model", "module"},
}
"""For each module, the modules of makemore_lightning that it may import."""


def imported_names(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_siblings(path: Path) -> set[str]:
    """Names of the modules of makemore_lightning that one of them imports."""
    siblings = {module.stem for module in MODULES}
    prefix = "makemore_lightning."
    names = [
        name.removeprefix(prefix)
        for name in imported_names(path)
        if name.startswith(prefix)
    ]
    return {name.split(".")[0] for name in names} & siblings


def test_every_module_is_listed() -> None:
    assert {path.stem for path in MODULES} == set(ALLOWED)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_modules_import_only_allowed_modules(path: Path) -> None:
    assert imported_siblings(path) <= ALLOWED[path.stem]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_modules_import_neither_callbacks_nor_the_entry_point(path: Path) -> None:
    names = imported_names(path)
    assert not {name for name in names if "callbacks" in name.split(".")[:2]}
    assert "train" not in names


@pytest.mark.parametrize("package", ["lightning", "torchmetrics"])
def test_the_network_is_plain_pytorch(package: str) -> None:
    for stem in ("model", "initialization", "batches", "vocabulary"):
        names = imported_names(ROOT / "makemore_lightning" / f"{stem}.py")
        assert package not in {name.split(".")[0] for name in names}
