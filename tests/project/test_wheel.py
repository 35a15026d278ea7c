"""Tests of the wheel: complete, and without a top-level package that could shadow one of another project."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HOST_PROGRAM = """
import callbacks
assert callbacks.OWN, "the host's own package is shadowed"
import makemore_lightning.callbacks
from makemore_lightning import NamesDataModule
data = NamesDataModule()
data.setup("fit")
print(len(data.splits["train"].names), makemore_lightning.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Builds the wheel from the tracked and untracked files of the working tree, without ignored ones."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"]
    listing = subprocess.run(command, check=True, capture_output=True).stdout.decode()
    for name in filter(None, listing.split("\0")):
        if (ROOT / name).exists():  # a file may be deleted and still in git's index
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(folder),
            str(source),
        ],
        check=True,
        capture_output=True,
    )
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_installs_one_top_level_package(wheel: zipfile.ZipFile) -> None:
    top_level = {name.split("/")[0] for name in wheel.namelist()}
    packages = {name for name in top_level if not name.endswith(".dist-info")}
    assert packages == {"makemore_lightning"}


def test_contains_every_file_of_both_packages_and_the_names(
    wheel: zipfile.ZipFile,
) -> None:
    contents = set(wheel.namelist())
    experiment = ROOT.glob("makemore_lightning/**/*.py")
    expected = {str(path.relative_to(ROOT)) for path in experiment}
    expected |= {
        f"makemore_lightning/{path.relative_to(ROOT)}"
        for path in ROOT.glob("callbacks/**/*.py")
    }
    expected.add("makemore_lightning/data/names.txt")
    assert expected <= contents


def test_works_beside_a_host_with_callbacks_of_its_own(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    site, host = tmp_path / "site", tmp_path / "host"
    wheel.extractall(site)
    (host / "callbacks").mkdir(parents=True)
    (host / "callbacks" / "__init__.py").write_text("OWN = True\n")
    (host / "main.py").write_text(HOST_PROGRAM)
    process = subprocess.run(
        [sys.executable, "main.py"],
        cwd=host,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == [
        "25805",
        str(site / "makemore_lightning" / "__init__.py"),
    ]
