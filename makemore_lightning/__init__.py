"""Karpathy's makemore part 3 as a Lightning project: names in, a character MLP trained, names out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from makemore_lightning.datamodule import NamesDataModule
    from makemore_lightning.errors import InputError
    from makemore_lightning.model import MLP
    from makemore_lightning.module import MakemoreModule

__all__ = ["MLP", "InputError", "MakemoreModule", "NamesDataModule"]

_MODULES = {
    "MLP": "model",
    "InputError": "errors",
    "MakemoreModule": "module",
    "NamesDataModule": "datamodule",
}
"""Module of each public name."""


def __getattr__(name: str) -> Any:
    # On first use, so that makemore_lightning.callbacks needs no package of the experiment.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
