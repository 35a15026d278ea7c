"""Tests of the wheel: complete, and without a top-level package that could shadow one of another project."""

import json
import re
import runpy
import subprocess
import sys
import venv
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

DIAGNOSTICS_PROGRAM = """
import sys
import lightning.pytorch
sys.modules.update(dict.fromkeys(["jsonargparse", "matplotlib", "pooch", "rich", "tensorboard"]))
from makemore_lightning.callbacks import GradStats
GradStats()
"""

OLDER_VERSIONS = {
    "torch": "2.3.1",
    "numpy": "1.26.4",
    "protobuf": "5.29.5",
    "tensorboard": "2.16.2",
    "matplotlib": "3.8.4",
    "pillow": "10.0.0",
    "torchmetrics": "1.3.2",
}
"""Versions of a host's environment that is years old."""


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
    page = {path.name for path in ROOT.glob("callbacks/page/page.*")}
    assert page == {"page.css", "page.html.jinja", "page.js"}
    expected |= {f"makemore_lightning/callbacks/page/{name}" for name in page}
    # Type checkers ignore the annotations of an installed package that has no such file.
    expected |= {
        f"makemore_lightning/{folder}py.typed" for folder in ("", "callbacks/")
    }
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


def install_metadata(python: Path, versions: dict[str, str]) -> None:
    """Makes packages that pip takes for installed, of nothing but metadata."""
    (site,) = python.parents[1].glob("lib/*/site-packages")
    for name, version in versions.items():
        folder = site / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )


@pytest.mark.parametrize("lightning", ["lightning", "pytorch_lightning"])
@pytest.mark.parametrize("extra", ["", "[pictures]"])
def test_changes_nothing_in_an_older_environment(
    wheel: zipfile.ZipFile, lightning: str, extra: str, tmp_path: Path
) -> None:
    """Without an index, pip fails if it has to install or replace any other package."""
    venv.create(tmp_path, with_pip=False)
    python = tmp_path / "bin" / "python"
    install_metadata(python, {**OLDER_VERSIONS, lightning: "2.2.5"})
    pip = [sys.executable, "-m", "pip", "--isolated", "--python", str(python)]
    options = ["--dry-run", "--quiet", "--no-index", "--report=-"]
    process = subprocess.run(
        [*pip, "install", *options, f"{wheel.filename}{extra}"],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    installed = [
        each["metadata"]["name"] for each in json.loads(process.stdout)["install"]
    ]
    assert installed == ["makemore-lightning"]


def test_callbacks_need_nothing_of_the_experiment(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    wheel.extractall(tmp_path)
    process = subprocess.run(
        [sys.executable, "-c", DIAGNOSTICS_PROGRAM],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr


def test_the_description_leads_nowhere_that_a_wheel_is_not(
    wheel: zipfile.ZipFile,
) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    metadata = wheel.read(name).decode()
    assert "Classifier: Typing :: Typed" in metadata
    assert "Description-Content-Type: text/markdown" in metadata
    assert "# makemore-lightning" in metadata
    assert re.findall(r"\]\((?!https?:|#)[^)]*\)", metadata) == []


def test_pictures_become_absolute_once_there_is_an_address() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("setuptools.setup", lambda **_: None)
        description = runpy.run_path(str(ROOT / "setup.py"))["description"]
    readme = "![a map](docs/map.png) and [more](docs/more.md), [here](#here) [out](https://x.org/y)"
    assert (
        description(readme, None) == " and more, [here](#here) [out](https://x.org/y)"
    )
    assert description(readme, "https://x.org/z/") == (
        "![a map](https://x.org/z/docs/map.png) and [more](https://x.org/z/docs/more.md), "
        "[here](#here) [out](https://x.org/y)"
    )
