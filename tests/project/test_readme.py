"""Tests that the README's commands, matrix of regimes and file tree match the project."""

import re
import shlex
import sys
from functools import partial
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from matrix import MATRICES, table

# The configs name the classes of callbacks, which must have been imported.
import callbacks  # noqa: F401
from makemore_lightning import MakemoreModule, NamesDataModule
from makemore_lightning.cli import MakemoreCLI, make_cli
from makemore_lightning.report_commands import COMMANDS as COMMANDS_ON_RUNS
from makemore_lightning.report_commands import parser_of

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CODE = "".join(re.findall(r"```bash\n(.*?)```", README, re.DOTALL))
COMMANDS = [line.split("  #")[0].strip() for line in CODE.splitlines()]
TRAIN_ARGUMENTS = [
    command.split("python train.py ")[1].replace("$lesson", lesson)
    for lesson in ("naive", "deep_batchnorm")
    for command in COMMANDS
    if "python train.py" in command and (lesson == "naive" or "$lesson" in command)
]


def test_two_commands_install_the_project() -> None:
    install = "python -m pip install -c constraints.txt -e"
    assert [command for command in COMMANDS if command.startswith("python -m pip")] == [
        f"{install} '.[experiment]' && python train.py fit --config configs/kaiming.yaml",
        f"{install} '.[test]' && python -m pytest",
    ]


@pytest.mark.parametrize(
    "arguments",
    [each for each in TRAIN_ARGUMENTS if each.split()[0] in COMMANDS_ON_RUNS],
)
def test_commands_on_runs_parse(arguments: str) -> None:
    command, *options = shlex.split(arguments)
    parser_of(command).parse_args(options)


@pytest.mark.filterwarnings("ignore:LightningCLI's args parameter")
@pytest.mark.parametrize(
    "arguments",
    [each for each in TRAIN_ARGUMENTS if each.split()[0] not in COMMANDS_ON_RUNS],
)
def test_commands_parse(arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_after_parsing(self: MakemoreCLI) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(MakemoreCLI, "before_instantiate_classes", stop_after_parsing)
    with pytest.raises(KeyboardInterrupt):
        make_cli(shlex.split(arguments))


def test_matrix_refers_to_existing_tests() -> None:
    document = (ROOT / "docs" / "regimes.md").read_text()
    for matrix in MATRICES:
        assert table(matrix) in document
    for cell in chain(*(cells for matrix in MATRICES for cells in matrix.values())):
        node = cell.tests
        file, *names = node.split("[")[0].split("::")
        code = (ROOT / "tests" / file).read_text()
        for name in names:
            assert f"def {name}(" in code or f"class {name}:" in code, node


def test_file_tree_is_complete() -> None:
    tree = re.search(r"## What is where\n\n```\n(.*?)```", README, re.DOTALL)
    assert tree
    listed = {line.split()[0] for line in tree[1].splitlines() if line.startswith("  ")}
    files = {path.name for path in ROOT.glob("makemore_lightning/*.py")} - {"errors.py"}
    public = {
        path.name
        for path in ROOT.glob("callbacks/*.py")
        if not path.name.startswith("_")
    }
    rooms = {f"{path.parent.name}/" for path in ROOT.glob("callbacks/*/__init__.py")}
    assert listed == files - {"__init__.py"} | public | rooms
    for line in tree[1].splitlines():
        if not line.startswith(" "):
            assert (ROOT / line.split()[0]).exists(), line


def test_the_example_of_a_test_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.search(r"### In your tests\n\n```python\n(.*?)```", README, re.DOTALL)
    assert example
    assert len(example[1].splitlines()) <= 10
    project: Any = ModuleType("my_project")
    project.MyModule, project.MyDataModule = MakemoreModule, NamesDataModule
    monkeypatch.setitem(sys.modules, "my_project", project)
    names: dict[str, Any] = {}
    exec(example[1], names)
    torch.manual_seed(0)
    names["test_begins_healthy"]()
    project.MyModule = partial(MakemoreModule, init="naive")
    exec(example[1], names)
    with pytest.raises(AssertionError, match="saturation"):
        names["test_begins_healthy"]()
