"""Runs the tests of callbacks/ with older and newer versions of everything, and prints a table for the README.

    python tests/versions.py                    # all corners
    python tests/versions.py oldest newest      # some of them
    python tests/versions.py --keep /tmp/envs   # keeps the environments, and uses those that are there

Each corner is a virtual environment of the Python named in it, which must be on PATH (`python3.10`), with callbacks/
and tests/ copied beside it. Nothing is installed into the environment that runs this program. A corner takes about 2 GB
of disk, until it is done, and 5 minutes.

PyTorch is installed without its dependencies, and its metadata is stripped of the CUDA packages that the wheels for
Linux ask for, so that pip does not bring them along: gigabytes that a run on a CPU does not need. `cuda_stubs` makes
what the dynamic loader wants of them; that needs gcc and binutils.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from cuda_stubs import stub_cuda_libraries  # noqa: E402

TOOLS = [
    "pytest",
    "hypothesis",
    "jsonargparse[signatures]>=4.27.7",
    "tensorboardX",
    "rich",
    "setuptools<81",
]
"""Needs of the tests, and of old versions of TensorBoard, which import pkg_resources."""

NO_CUDA = re.compile(r"^Requires-Dist: (cuda|nvidia|triton).*\n", re.MULTILINE)
"""Lines of PyTorch's metadata that ask for CUDA packages."""

LEFT_OUT = {
    "test_other_models.py": "needs transformers",
    "test_writer.py::TestLoggersOfOthers": "needs wandb and mlflow",
}
"""Tests that are not run, because what they try is a third package."""

DIFFERENCES = {
    "*test_figures.py::test_any_name_is_drawn_as_it_is*": "underscore",
    "*test_figures.py::test_a_picture_is_a_palette_png_of_one_size": "width",
    "*test_reporter.py::test_pictures_of_a_drawing_process": "width",
}
"""Tests that fail where an old version differs, and the difference."""

REMARKS = {
    "underscore": "matplotlib < 3.10 leaves names with a leading `_` out of legends",
    "width": "pictures are a pixel narrower",
}


@dataclass(frozen=True)
class Corner:
    """Versions to try together.

    Attributes:
        python: Version of Python.
        requirements: What pip installs, PyTorch first; without versions, the newest.
        differences: Keys of `REMARKS`: tests that fail for these reasons do not fail the corner.
    """

    python: str
    requirements: tuple[str, ...]
    differences: tuple[str, ...] = ()

    @property
    def is_old_name(self) -> bool:
        """True if Lightning is there as `pytorch_lightning` alone."""
        return not any(each.startswith("lightning") for each in self.requirements)


PICTURES = ("tensorboard", "matplotlib", "pillow")
OLD_PICTURES = ("tensorboard==2.16.2", "matplotlib==3.8.4", "pillow==10.4.0")

CORNERS = {
    "oldest": Corner(
        "3.10",
        (
            "torch==2.3.1",
            "lightning==2.2.5",
            "pytorch-lightning==2.2.5",
            "rich==13.9.4",  # its progress bar breaks with rich 15
            "numpy==1.26.4",
            *OLD_PICTURES,
        ),
        ("underscore", "width"),
    ),
    "torch 2.4": Corner(
        "3.11",
        (
            "torch==2.4.1",
            "lightning==2.4.0",
            "pytorch-lightning==2.4.0",
            "numpy==1.26.4",
            *OLD_PICTURES,
        ),
        ("underscore", "width"),
    ),
    "pytorch_lightning alone": Corner(
        "3.11",
        (
            "torch==2.6.0",
            "pytorch-lightning==2.5.1",
            "rich==13.9.4",  # its progress bar breaks with rich 15
            "numpy==2.0.2",
            *PICTURES,
        ),
    ),
    "torch 2.8": Corner(
        "3.11",
        ("torch==2.8.0", "lightning==2.5.5", "pytorch-lightning==2.5.5", *PICTURES),
    ),
    "newest": Corner("3.13", ("torch", "lightning", "numpy", *PICTURES)),
}


class Failure(NamedTuple):
    """A test that failed, and the last line of its error."""

    test: str
    error: str


@dataclass
class Outcome:
    """Results of the tests in one environment.

    Attributes:
        passed: Number of tests that passed.
        skipped: Number of tests of what these versions do not have.
        different: Number of tests that fail where an old version is known to differ.
        failures: Tests that fail for another reason.
        remarks: How the version differs.
    """

    passed: int = 0
    skipped: int = 0
    different: int = 0
    failures: list[Failure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries the corners; returns 1 if tests failed that are not known to differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("corners", nargs="*", help=f"of {', '.join(CORNERS)}")
    parser.add_argument("--keep", type=Path, help="folder that environments stay in")
    options = parser.parse_args(arguments)
    if unknown := set(options.corners) - CORNERS.keys():
        parser.error(f"no corner is called {', '.join(unknown)}")
    # Whatever a shell starts in the background ignores Ctrl-C, and with it what the tests of Ctrl-C start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rows, failed = [], False
    kept = nullcontext(options.keep)
    for name in options.corners or CORNERS:
        with kept if options.keep else tempfile.TemporaryDirectory() as folder:
            row, has_failures = try_corner(CORNERS[name], Path(folder) / name)
        rows.append(row)
        failed |= has_failures
    print(
        "\n| torch | Lightning | Python | NumPy | matplotlib | passed / failed / skipped | differs |"
    )
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    return int(failed)


def try_corner(corner: Corner, folder: Path) -> tuple[str, bool]:
    """Makes an environment and runs the tests in it; returns a row of the table, and whether tests failed."""
    python = shutil.which(f"python{corner.python}")
    if python is None:
        versions = " | ".join(corner.requirements[:2])
        return f"| {versions} | {corner.python} | | | | not on this machine |", False
    environment = folder.resolve() / "environment"
    if not environment.exists():
        install(corner, Path(python), environment)
    project = folder.resolve() / "project"
    copy_project(corner, project)
    outcome = run_tests(corner, environment, project)
    for failure in outcome.failures:
        print(f"FAILED {failure.test}: {failure.error}", flush=True)
    return row_of(corner, environment, outcome), bool(outcome.failures)


def install(corner: Corner, python: Path, environment: Path) -> None:
    """Installs a corner's requirements, without CUDA packages."""
    run(python, "-m", "venv", environment)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--no-cache-dir"]
    torch, *others = corner.requirements
    run(*pip, "--no-deps", torch)
    (metadata,) = environment.glob("lib/*/site-packages/torch-*.dist-info/METADATA")
    metadata.write_text(NO_CUDA.sub("", metadata.read_text()))
    stub_cuda_libraries(metadata.parents[1] / "torch" / "lib")
    run(*pip, torch, *others, *TOOLS)
    # The first picture of an environment would wait for matplotlib to build its cache of fonts.
    run(environment / "bin" / "python", "-c", "import matplotlib.font_manager")


def copy_project(corner: Corner, project: Path) -> None:
    """Copies callbacks and tests; tests import Lightning by the name that the environment has."""
    shutil.rmtree(project, ignore_errors=True)
    shutil.copytree(ROOT / "callbacks", project / "callbacks")
    for folder in ("callbacks", "helpers"):
        shutil.copytree(ROOT / "tests" / folder, project / "tests" / folder)
    shutil.copy(ROOT / "tests" / "conftest.py", project / "tests")
    if corner.is_old_name:
        for path in project.glob("tests/**/*.py"):
            code = path.read_text().replace("lightning.pytorch", "pytorch_lightning")
            path.write_text(code.replace("lightning.fabric", "lightning_fabric"))


def run_tests(corner: Corner, environment: Path, project: Path) -> Outcome:
    """Runs the tests that take no more than a few seconds each."""
    report = project / "report.xml"
    command = [environment / "bin" / "python", "-m", "pytest", "tests/callbacks"]
    # A new version's warnings are no failure, so that the project's own configuration is not used.
    command += ["-c", "/dev/null", "--rootdir=.", "--import-mode=importlib", "-q"]
    command += ["-p", "older_versions", "-p", "no:cacheprovider", "-W", "ignore"]
    command += ["-m", "not slow", f"--junitxml={report}", "--tb=line"]
    command += ["-o", "pythonpath=. tests/helpers", "-o", "junit_family=xunit1"]
    for place in LEFT_OUT:
        option = "--deselect" if "::" in place else "--ignore-glob"
        root = "tests/callbacks/report/" if "::" in place else "*/"
        command.append(f"{option}={root}{place}")
    paths = f"{project}:{project / 'tests' / 'helpers'}"
    run(
        *("env", f"PYTHONPATH={paths}", "OMP_NUM_THREADS=1", *command),
        folder=project,
        check=False,
    )
    if not report.exists():
        return Outcome(failures=[Failure("all", "pytest did not start")])
    return outcome_of(report.read_text(), corner.differences)


def outcome_of(report: str, differences: Iterable[str]) -> Outcome:
    """Counts the results of a JUnit report.

    Args:
        report: XML that pytest wrote.
        differences: Keys of `REMARKS` that may be a reason to fail.
    """
    outcome = Outcome()
    for case in ElementTree.fromstring(report).iter("testcase"):
        errors = [*case.iter("failure"), *case.iter("error")]
        if errors:
            test = f"{case.get('file')}::{case.get('name')}"
            reasons = {key for name, key in DIFFERENCES.items() if fnmatch(test, name)}
            known = [REMARKS[key] for key in reasons & set(differences)]
            outcome.remarks += [text for text in known if text not in outcome.remarks]
            outcome.different += bool(known)
            if not known:
                outcome.failures.append(Failure(test, str(errors[0].get("message"))))
        elif case.find("skipped") is not None:
            outcome.skipped += 1
        else:
            outcome.passed += 1
    return outcome


def row_of(corner: Corner, environment: Path, outcome: Outcome) -> str:
    """Returns a corner's row of the table, with the versions that were installed."""
    lightning = "pytorch-lightning" if corner.is_old_name else "lightning"
    names = ["torch", lightning, "numpy", "matplotlib"]
    code = f"from importlib.metadata import version; print(*map(version, {names}))"
    python = environment / "bin" / "python"
    output = subprocess.run([python, "-c", code], capture_output=True, text=True)
    torch, version, *others = output.stdout.split()
    label = f"pytorch_lightning {version}" if corner.is_old_name else version
    failed = outcome.different + len(outcome.failures)
    counts = f"{outcome.passed} / {failed} / {outcome.skipped}"
    cells = [torch.split("+")[0], label, corner.python, *others, counts]
    remarks = [*outcome.remarks]
    if outcome.failures:
        remarks.insert(0, f"**{len(outcome.failures)} fail for another reason**")
    return f"| {' | '.join([*cells, '; '.join(remarks)])} |"


def run(*command: str | Path, folder: Path = ROOT, check: bool = True) -> None:
    """Runs a command, after printing it."""
    print("+", *command, flush=True)
    subprocess.run([str(word) for word in command], cwd=folder, check=check)


if __name__ == "__main__":
    sys.exit(main())
