"""Tests that importing the package imports none of its modules, whose needs the callbacks do not share."""

import subprocess
import sys

import pytest
from command_line import ROOT

import makemore_lightning

BLOCK = """
import importlib.metadata
import sys

names = {names}
find = importlib.metadata.distribution

def distribution(name):
    # Lightning imports optional packages whose metadata it finds.
    if name in names:
        raise importlib.metadata.PackageNotFoundError(name)
    return find(name)

importlib.metadata.distribution = distribution
sys.modules.update(dict.fromkeys(names))
"""
"""Program that makes packages seem not to be installed."""

ONLY_THE_EXPERIMENT = {"jsonargparse", "pooch", "rich"}
"""Packages that the callbacks can do without; torchmetrics is a need of Lightning itself."""


def run(program: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-c", program]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)


def test_import_needs_no_other_package() -> None:
    names = {*ONLY_THE_EXPERIMENT, "torch", "lightning", "torchmetrics", "yaml"}
    process = run(f"{BLOCK.format(names=names)}import makemore_lightning")
    assert process.returncode == 0, process.stderr


def test_callbacks_work_inside_the_package() -> None:
    program = f"""{BLOCK.format(names=ONLY_THE_EXPERIMENT)}
import importlib.util
import makemore_lightning

# As installed, where callbacks/ is a folder of the package.
spec = importlib.util.spec_from_file_location(
    "makemore_lightning.callbacks", "callbacks/__init__.py", submodule_search_locations=["callbacks"]
)
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
from makemore_lightning.callbacks import GradStats
GradStats()
"""
    process = run(program)
    assert process.returncode == 0, process.stderr


def test_public_names_are_imported_on_first_use() -> None:
    names = ("MLP", "InputError", "MakemoreModule", "NamesDataModule")
    assert sorted(makemore_lightning.__all__) == sorted(names)
    assert set(names) <= set(dir(makemore_lightning))
    for name in names:
        assert getattr(makemore_lightning, name).__name__ == name


def test_other_names_raise() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Mlp'"):
        _ = makemore_lightning.Mlp  # type: ignore[attr-defined]
