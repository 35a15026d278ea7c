"""The README's commands and tree are those of the project."""

import re
import shlex
from pathlib import Path

import pytest
from matrix import MATRIX, table

import train

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
TRAIN = [command.split("python train.py ")[1] for command in COMMANDS if "python train.py" in command]


def test_two_commands_set_themselves_up() -> None:
    assert [command for command in COMMANDS if command.startswith("python -m pip")] == [
        "python -m pip install -c constraints.txt -e . && python train.py fit --config configs/kaiming.yaml",
        "python -m pip install -c constraints.txt -e '.[test]' && python -m pytest",
    ]


@pytest.mark.filterwarnings("ignore:LightningCLI's args parameter")
@pytest.mark.parametrize("command", TRAIN)
def test_commands_are_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def only_parse(self: train.MakemoreCLI) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(train.MakemoreCLI, "before_instantiate_classes", only_parse)
    with pytest.raises(KeyboardInterrupt):
        train.make_cli(shlex.split(command))


def test_matrix_is_that_of_the_tests() -> None:
    assert table() in README
    for cells in MATRIX.values():
        for node in (cell.tests for cell in cells):
            file, *names = node.split("[")[0].split("::")
            code = (ROOT / "tests" / file).read_text()
            assert all(f"def {name}(" in code or f"class {name}:" in code for name in names), node


def test_tree_is_the_tree() -> None:
    tree = re.search(r"## What is where\n\n```\n(.*?)```", README, re.DOTALL)
    assert tree
    listed = {line.split()[0] for line in tree[1].splitlines() if line.startswith("  ")}
    files = {path.name for half in ("makemore_lightning", "callbacks") for path in ROOT.glob(f"{half}/*.py")}
    assert listed == files - {"__init__.py", "errors.py", "_errors.py"}
    for line in tree[1].splitlines():
        if not line.startswith(" "):
            assert (ROOT / line.split()[0]).exists(), line
