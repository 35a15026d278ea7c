"""Tests of the program that tries other versions: its oldest corner, what it leaves out, and its table."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cuda_stubs import stub_cuda_libraries

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from versions import (  # noqa: E402
    CORNERS,
    DIFFERENCES,
    LEFT_OUT,
    NO_CUDA,
    REMARKS,
    outcome_of,
)

REPORT = """<testsuites><testsuite>
<testcase file="tests/callbacks/test_a.py" name="test_right"/>
<testcase file="tests/callbacks/test_a.py" name="test_new"><skipped message="no such class"/></testcase>
<testcase file="tests/callbacks/test_a.py" name="test_wrong"><failure message="1 != 2">...</failure></testcase>
<testcase file="tests/callbacks/report/test_figures.py" name="test_any_name_is_drawn_as_it_is[True]">
    <failure message="_x"/></testcase>
</testsuite></testsuites>"""


def test_the_oldest_corner_has_the_lower_bounds_of_the_wheel() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    oldest = CORNERS["oldest"]
    for package in ("torch", "numpy", "matplotlib", "pillow"):
        match = re.search(rf'"{package}>=([\d.]+)",', pyproject)
        assert match, package
        (tried,) = [each for each in oldest.requirements if each.startswith(package)]
        assert f"{tried}.".startswith(f"{package}=={match[1]}."), tried
    assert f'requires-python = ">={oldest.python}"' in pyproject


def test_known_differences_are_those_of_tests_that_exist() -> None:
    assert set(DIFFERENCES.values()) <= REMARKS.keys()
    for place in [*DIFFERENCES, *LEFT_OUT]:
        file, _, name = place.strip("*").partition("::")
        (path,) = (ROOT / "tests" / "callbacks").glob(f"**/{file}")
        assert name in path.read_text()


def test_a_known_difference_fails_only_the_corners_without_it() -> None:
    known = outcome_of(REPORT, ["underscore"])
    assert (known.passed, known.skipped, known.different) == (1, 1, 1)
    assert [failure.test for failure in known.failures] == [
        "tests/callbacks/test_a.py::test_wrong"
    ]
    assert known.remarks == [REMARKS["underscore"]]
    assert len(outcome_of(REPORT, []).failures) == 2


def test_only_cuda_packages_are_taken_out_of_the_metadata() -> None:
    metadata = (
        "Requires-Dist: filelock\n"
        'Requires-Dist: nvidia-nccl-cu12 (==2.20.5) ; platform_system == "Linux"\n'
        "Requires-Dist: triton (==2.3.1)\n"
        "Requires-Dist: cuda-bindings==13.0.3; platform_system == 'Linux'\n"
        "Requires-Dist: networkx\n"
    )
    assert NO_CUDA.sub("", metadata) == (
        "Requires-Dist: filelock\nRequires-Dist: networkx\n"
    )


@pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("objdump")),
    reason="needs gcc and binutils",
)
def test_a_library_loads_with_stubs_of_what_it_needs(tmp_path: Path) -> None:
    """The library needs a function of a library that no machine without CUDA has."""
    (tmp_path / "real").mkdir()
    stub, library = tmp_path / "real" / "libcudart.so.12", tmp_path / "libtorch.so"
    gcc = ["gcc", "-shared", "-fPIC", "-w", "-x", "c", "-"]
    code = "int cudaGetDeviceCount(int *count) { return 0; }"
    command = [*gcc, "-Wl,-soname,libcudart.so.12", "-o", str(stub)]
    subprocess.run(command, input=code, text=True, check=True)
    code = "int cudaGetDeviceCount(int *); int devices() { int n; return cudaGetDeviceCount(&n); }"
    command = [*gcc, "-o", str(library), "-Wl,-rpath,$ORIGIN", "-x", "none", str(stub)]
    subprocess.run(command, input=code, text=True, check=True)
    program = f"import ctypes; print(ctypes.CDLL({str(library)!r}).devices())"
    load = [sys.executable, "-c", program]
    assert subprocess.run(load, capture_output=True).returncode != 0
    assert stub_cuda_libraries(tmp_path) == ["libcudart.so.12"]
    assert subprocess.run(load, capture_output=True, text=True).stdout == "100\n"
    assert stub_cuda_libraries(tmp_path) == []
