"""Pytest plugin that runs the tests with older versions, whose API lacks what the tests themselves use.

`tests/versions.py` loads it with `-p older_versions`. Nothing that `callbacks` uses is changed.
"""

import functools
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, NoReturn

import hypothesis
import pytest
import torch

PACKAGES = ("lightning.pytorch", "pytorch_lightning")

MISSING = {
    "callbacks": ["EMAWeightAveraging"],  # Lightning 2.6
    "strategies": ["ModelParallelStrategy"],  # Lightning 2.4
}
"""Classes that tests use, by module of Lightning, and when they came."""


def without_new_arguments(
    function: Callable[..., Any], *names: str
) -> Callable[..., Any]:
    """Returns a function that leaves out arguments which the installed version does not have."""
    unknown = set(names) - inspect.signature(function).parameters.keys()

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        known = {name: keywords[name] for name in keywords if name not in unknown}
        return function(*arguments, **known)

    return call


def raising_ctrl_c(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a `Trainer.fit` that raises after Ctrl-C; before Lightning 2.5 it returns as if training had ended."""

    @functools.wraps(fit)
    def call(trainer: Any, *arguments: Any, **keywords: Any) -> Any:
        result = fit(trainer, *arguments, **keywords)
        if trainer.interrupted:
            raise KeyboardInterrupt
        return result

    return call


def skipping(reason: str) -> Callable[..., NoReturn]:
    """Returns a function that skips the test which calls it."""

    def skip(*_: Any, **__: Any) -> NoReturn:
        pytest.skip(reason)

    return skip


def prepare_lightning(name: str) -> None:
    """Adds what the tests use of a package of PyTorch Lightning."""
    package: Any = import_module(name)
    package.seed_everything = without_new_arguments(package.seed_everything, "verbose")
    fit = without_new_arguments(package.Trainer.fit, "weights_only")
    package.Trainer.fit = raising_ctrl_c(fit)
    for module, classes in MISSING.items():
        place = import_module(f"{name}.{module}")
        for missing in classes:
            if not hasattr(place, missing):
                skip = skipping(f"this version of Lightning has no {missing}")
                setattr(place, missing, type(missing, (), {"__init__": skip}))


def prepare_torch() -> None:
    """Adds what the tests use of PyTorch."""
    version = tuple(map(int, torch.__version__.split(".")[:2]))
    if version < (2, 4):
        _refuse_fused_optimizers()
    if version < (2, 5):  # where DTensor is not public yet
        private = import_module("torch.distributed._tensor")
        public: Any = import_module("torch.distributed.tensor")
        for name in ("DTensor", "Replicate", "Shard"):
            setattr(public, name, getattr(private, name))
        skip = skipping("this version of PyTorch has no state of torch functions")
        torch._C._get_torch_function_state = skip  # type: ignore[attr-defined]


def _refuse_fused_optimizers() -> None:
    for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
        kind.__init__ = _without_fused(kind.__init__)


def _without_fused(make: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(make)
    def call(*arguments: Any, **keywords: Any) -> None:
        if keywords.get("fused"):
            pytest.skip("this version of PyTorch has no fused optimizers on a CPU")
        make(*arguments, **keywords)

    return call


def pytest_configure() -> None:
    # The first example of a property may have to import or compile something, which takes long on a busy machine.
    hypothesis.settings.register_profile("versions", deadline=None)
    hypothesis.settings.load_profile("versions")
    prepare_torch()
    for name in PACKAGES:
        try:
            import_module(name)
        except ModuleNotFoundError:
            continue
        prepare_lightning(name)
