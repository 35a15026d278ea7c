"""Tests of the two packages that PyTorch Lightning is published as, each in a process of its own."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

NEEDS_OLD_NAME = pytest.mark.skipif(
    find_spec("pytorch_lightning") is None, reason="pytorch_lightning is not installed"
)
NEEDS_NEW_NAME = pytest.mark.skipif(
    find_spec("lightning") is None, reason="lightning is not installed"
)

FIT = """
def fit(package):
    model = import_module(f"{package}.demos.boring_classes").BoringModel()
    instruments = [GradStats(), UpdateRatio(), SaturationMap(), ActivationHistogram()]
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = import_module(package).Trainer(
        callbacks=instruments, max_steps=2, enable_checkpointing=False, accelerator="cpu", **quiet
    )
    trainer.fit(model)
    assert "grad_norm/total" in instruments[0].latest
    assert "update_ratio/layer.weight" in instruments[1].latest
"""

ONLY_THE_OLD_NAME = f"""
import sys
from importlib import import_module
sys.modules["lightning"] = None
from callbacks import ActivationHistogram, GradStats, SaturationMap, UpdateRatio
{FIT}
fit("pytorch_lightning")
assert not [name for name in sys.modules if name.startswith("lightning.")]
"""

OLD_NAME_IN_USE = f"""
import sys
from importlib import import_module
import pytorch_lightning
from callbacks import ActivationHistogram, GradStats, SaturationMap, UpdateRatio
assert "lightning" not in sys.modules
{FIT}
fit("pytorch_lightning")
"""

CALLBACKS_FIRST = f"""
import pickle
from importlib import import_module
from callbacks import ActivationHistogram, GradStats, SaturationMap, UpdateRatio
pickled = pickle.dumps(GradStats())
import pytorch_lightning
from pytorch_lightning.utilities.exceptions import MisconfigurationException
assert not issubclass(GradStats, pytorch_lightning.Callback)
assert isinstance(pickle.loads(pickled), pytorch_lightning.Callback)
try:
    GradStats(every_n_steps=0)
except MisconfigurationException as error:
    from lightning.pytorch.utilities.exceptions import MisconfigurationException
    assert isinstance(error, MisconfigurationException)
    assert isinstance(error, ValueError)
{FIT}
fit("pytorch_lightning")
fit("lightning.pytorch")
"""

NONE = """
import sys
sys.modules["lightning"] = sys.modules["pytorch_lightning"] = None
import callbacks
"""


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


@NEEDS_OLD_NAME
def test_pytorch_lightning_alone(tmp_path: Path) -> None:
    process = run(ONLY_THE_OLD_NAME, tmp_path)
    assert process.returncode == 0, process.stderr


@NEEDS_OLD_NAME
def test_takes_the_package_in_use_of_two_that_are_installed(tmp_path: Path) -> None:
    process = run(OLD_NAME_IN_USE, tmp_path)
    assert process.returncode == 0, process.stderr


@NEEDS_OLD_NAME
@NEEDS_NEW_NAME
def test_follows_a_package_that_is_imported_later(tmp_path: Path) -> None:
    """Before Lightning 2.6, a Trainer raised "Expected a parent" of the other package's callbacks."""
    process = run(CALLBACKS_FIRST, tmp_path)
    assert process.returncode == 0, process.stderr


def test_says_what_to_install(tmp_path: Path) -> None:
    process = run(NONE, tmp_path)
    assert process.returncode == 1
    assert (
        "python -m pip install lightning, or pytorch_lightning"
        in process.stderr.splitlines()[-1]
    )
