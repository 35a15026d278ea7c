"""Healthy trainings of makemore's networks, as the configs have them."""

from typing import Any

from makemore_lightning import MakemoreModule, NamesDataModule

from .models import model
from .training import Training


def makemore(**options: Any) -> Training:
    """Training of makemore's network on the names of the project."""
    return Training(
        MakemoreModule(**options), NamesDataModule(), {"limit_val_batches": 0}
    )


@model("makemore", head="network.head")
def makemore_kaiming() -> Training:
    return makemore(init="kaiming")


@model("makemore", head="network.head")
def makemore_tanh() -> Training:
    return makemore(init="tanh")


@model("makemore", head="network.head")
def makemore_batchnorm() -> Training:
    return makemore(init="kaiming", batchnorm=True)


@model("makemore", head="network.head")
def makemore_deep_batchnorm() -> Training:
    deep = (100, 100, 100, 100, 100)
    options = {"hidden_sizes": deep, "gain": 1.0, "head_scale": 0.1}
    return makemore(batchnorm=True, head_batchnorm=True, **options)
