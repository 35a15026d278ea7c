"""What is installed: nothing that could shadow a host's own packages, and nothing missing."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TRIED_IN_A_HOST = """
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
    """The project's wheel, built from what is here."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"], check=True, capture_output=True
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)],
        check=True,
        capture_output=True,
    )
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_installs_one_top_level_package(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"makemore_lightning"}


def test_holds_every_file_of_both_halves_and_the_names(wheel: zipfile.ZipFile) -> None:
    held = set(wheel.namelist())
    for path in (ROOT / "makemore_lightning").glob("*.py"):
        assert f"makemore_lightning/{path.name}" in held
    for path in (ROOT / "callbacks").glob("*.py"):
        assert f"makemore_lightning/callbacks/{path.name}" in held
    assert "makemore_lightning/data/names.txt" in held


def test_works_beside_a_host_with_callbacks_of_its_own(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    installed, host = tmp_path / "site", tmp_path / "host"
    wheel.extractall(installed)
    (host / "callbacks").mkdir(parents=True)
    (host / "callbacks" / "__init__.py").write_text("OWN = True\n")
    (host / "main.py").write_text(TRIED_IN_A_HOST)
    done = subprocess.run(
        [sys.executable, "main.py"],
        cwd=host,
        env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["25805", str(installed / "makemore_lightning" / "__init__.py")]
