"""The process that draws: whatever becomes of it, there are pictures, and training goes on."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fits import runtime_warnings

from callbacks import _drawing, _figures
from callbacks._drawing import Drawer
from callbacks._sketches import Sketch, sketch_ratios

SKETCH = sketch_ratios("updates", [0, 1, 2], {"w": [-2.0, None, -3.5]})


@pytest.fixture
def drawer() -> Iterator[Drawer]:
    drawer = Drawer()
    yield drawer
    drawer.close()


def test_the_picture_is_that_of_this_process(drawer: Drawer) -> None:
    assert drawer.draw(SKETCH) == _figures.draw(*SKETCH)
    assert not drawer._here
    process = drawer._process
    drawer.draw(SKETCH)
    assert drawer._process is process  # one for all pictures


def test_what_cannot_be_drawn_is_told(drawer: Drawer) -> None:
    with pytest.raises(RuntimeError, match="KeyError"):
        drawer.draw(Sketch("no_figure", {}))
    assert drawer.draw(SKETCH)[:4] == b"\x89PNG"  # and the next is drawn there again
    assert not drawer._here


def test_one_that_has_ended_is_followed_by_another(drawer: Drawer) -> None:
    drawer.draw(SKETCH)
    assert drawer._process is not None
    drawer._process.kill()
    drawer._process.wait()
    assert drawer.draw(SKETCH)[:4] == b"\x89PNG"
    assert not drawer._here


PROGRAMS = ["import sys", "import os, sys; os.write(int(sys.argv[1]), b'INFO: x')", "import time; time.sleep(60)"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_where_none_answers_pictures_are_drawn_here(
    drawer: Drawer, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(program)
    monkeypatch.setattr(_drawing, "DRAWS_WITHIN", 0.5)
    monkeypatch.setattr(_figures, "__file__", str(tmp_path / "broken.py"))
    with runtime_warnings() as warned:
        for _ in range(2):
            assert drawer.draw(SKETCH)[:4] == b"\x89PNG"
    assert [line.split(",")[0] for line in warned] == ["Pictures of diagnostics are drawn by the training itself"]
    assert drawer._process is None


def test_one_that_ends_while_it_is_asked_is_followed_by_another(drawer: Drawer) -> None:
    drawer.draw(SKETCH)
    assert drawer._process is not None
    drawer._process.kill()  # and is not waited for
    assert drawer.draw(SKETCH)[:4] == b"\x89PNG"
    assert not drawer._here


def test_what_a_host_prints_is_no_answer(drawer: Drawer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('N.')")  # which would be a pickle
    (tmp_path / "matplotlib.py").write_text("raise ImportError")  # is not found before the real one
    monkeypatch.setattr(sys, "path", [Path("no string"), *sys.path, str(tmp_path)])  # type: ignore[list-item]
    assert drawer.draw(SKETCH) == _figures.draw(*SKETCH)
    assert not drawer._here


def test_ctrl_c_is_for_the_training(drawer: Drawer) -> None:
    drawer.draw(SKETCH)
    assert drawer._process is not None
    assert os.getsid(drawer._process.pid) != os.getsid(0)


def test_where_none_can_be_started_pictures_are_drawn_here(drawer: Drawer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with runtime_warnings() as warned:
        assert drawer.draw(SKETCH)[:4] == b"\x89PNG"
    assert len(warned) == 1
    assert drawer._here


def test_a_frozen_program_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert Drawer()._here


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_one_of_its_own() -> None:
    program = (
        "from callbacks._drawing import DRAWER; from callbacks._sketches import sketch_ratios; import os;"
        "sketch = sketch_ratios('', [0], {}); DRAWER.draw(sketch); mine = DRAWER._process.pid; DRAWER._lock.acquire();"
        "child = os.fork();"
        "child or os._exit(not (DRAWER.draw(sketch) and DRAWER._process.pid != mine and not DRAWER._here));"
        "DRAWER._lock.release(); assert os.waitpid(child, 0)[1] == 0; DRAWER.draw(sketch);"
        "assert DRAWER._process.pid == mine"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)


def test_ends_when_idle(drawer: Drawer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Path(_figures.__file__).read_text().replace("IDLE = 60.0", "IDLE = 0.3")
    (tmp_path / "impatient.py").write_text(program)
    monkeypatch.setattr(_figures, "__file__", str(tmp_path / "impatient.py"))
    drawer.draw(SKETCH)
    assert drawer._process is not None
    assert drawer._process.wait(timeout=20) == 0


def test_ends_with_the_process_that_asks() -> None:
    program = (
        "from callbacks._drawing import DRAWER; from callbacks._sketches import sketch_ratios; import os;"
        "DRAWER.draw(sketch_ratios('', [0], {})); print(DRAWER._process.pid, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for _ in range(200):
        state = subprocess.run(["ps", "-o", "stat=", "-p", done.stdout.strip()], capture_output=True, text=True).stdout
        if not state or state.startswith("Z"):  # where nobody has asked yet how it ended
            return
        time.sleep(0.05)
    pytest.fail("it is still there")


def test_nothing_of_the_package_is_needed_to_draw() -> None:
    """Else its process would take seconds, and the memory of PyTorch, to begin."""
    program = f"import runpy, sys; runpy.run_path({_figures.__file__!r}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", program], check=True)
