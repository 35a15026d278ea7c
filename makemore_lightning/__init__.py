"""Karpathy's makemore part 3 as a Lightning project: names in, a character MLP trained, names out."""

from makemore_lightning.datamodule import NamesDataModule
from makemore_lightning.errors import InputError
from makemore_lightning.model import MLP
from makemore_lightning.module import MakemoreModule

__all__ = ["MLP", "InputError", "MakemoreModule", "NamesDataModule"]
