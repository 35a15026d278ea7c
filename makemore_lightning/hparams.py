"""Row of a run in TensorBoard's HParams table: the settings that tell the lessons apart, and the results."""

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from torch.optim import Optimizer

from makemore_lightning.initialization import activation_gain, find_scheme
from makemore_lightning.model import make_activation

SATURATION = "saturation/"
"""Prefix of the tags of saturated fractions, one a layer."""


def settings_row(
    arguments: Mapping[str, Any], optimizer: Optimizer
) -> dict[str, bool | float | str]:
    """Selects the columns of settings.

    TensorBoard sorts columns by name, so that a column more would separate those that matter: settings that are the
    same in every lesson are in the run's hparams.yaml.

    Args:
        arguments: Arguments of the module.
        optimizer: The optimizer of the run.

    Returns:
        `batchnorm`, `gain`, `head_scale`, `hidden_sizes`, `init` and `lr`. A default that depends on other arguments
        is replaced by its value; a gain that the initialization does not use is 1.
    """
    scheme = find_scheme(arguments["init"])
    gain, head_scale = arguments["gain"], arguments["head_scale"]
    if gain is None:
        gain = activation_gain(make_activation(arguments["activation"]))
    return {
        "batchnorm": arguments["batchnorm"],
        "gain": gain if arguments["init"] == "kaiming" else 1.0,
        "head_scale": scheme.head_scale if head_scale is None else head_scale,
        "hidden_sizes": ", ".join(map(str, arguments["hidden_sizes"])),
        "init": arguments["init"],
        "lr": optimizer.defaults["lr"],
    }


def mean_saturation(callbacks: Iterable[Any]) -> float | None:
    """Returns the mean saturated fraction over the layers, of the last step that a callback measured.

    Args:
        callbacks: Callbacks of the Trainer; those with the saturation have a mapping `latest` from tag to value.

    Returns:
        None if no callback measures it.
    """
    for callback in callbacks:
        latest = getattr(callback, "latest", None) or {}
        fractions = [
            value for tag, value in latest.items() if tag.startswith(SATURATION)
        ]
        if fractions:
            return fmean(fractions)
    return None
