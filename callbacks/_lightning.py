"""PyTorch Lightning of the host project: the package `lightning`, the package `pytorch_lightning`, or both.

Each package has classes of its own. A Trainer of one refuses the callbacks of the other, before Lightning 2.6 with no
more than "Expected a parent", so that an instrument is a callback of every package that is imported.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

PACKAGES = ("lightning.pytorch", "pytorch_lightning")
"""Names under which PyTorch Lightning is published."""


def imported_packages() -> list[ModuleType]:
    """Returns the packages of PyTorch Lightning that this process has imported."""
    modules = [sys.modules.get(name) for name in PACKAGES]
    return [module for module in modules if hasattr(module, "Callback")]  # type: ignore[misc]


def import_package() -> ModuleType:
    """Imports the first of `PACKAGES` that is installed.

    Raises:
        ImportError: If none is; says what to install.
    """
    for name in PACKAGES:
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in (name, name.split(".")[0]):
                raise  # a package that Lightning needs
    raise ImportError(
        "Training diagnostics are callbacks of PyTorch Lightning, which is not installed: "
        "python -m pip install lightning, or pytorch_lightning."
    )


def errors_of(package: ModuleType) -> type[Exception]:
    """Returns the exception that a package raises of wrong arguments."""
    exceptions = import_module(f"{package.__name__}.utilities.exceptions")
    return exceptions.MisconfigurationException


if TYPE_CHECKING:
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    # A second Lightning would take seconds to import, so that the one in use comes before the one that is installed.
    packages = imported_packages() or [import_package()]
    LightningModule, Trainer = packages[0].LightningModule, packages[0].Trainer

    class Callback(*(package.Callback for package in packages)):
        """Callback of every package that is imported."""

    class MisconfigurationException(*map(errors_of, packages)):
        """Wrong argument, for every package that is imported."""


def extend_bases() -> None:
    """Adds the classes of a package that was imported later on: sorted imports put `callbacks` before Lightning."""
    for package in imported_packages():
        if not issubclass(Callback, package.Callback):
            Callback.__bases__ += (package.Callback,)
            MisconfigurationException.__bases__ += (errors_of(package),)
