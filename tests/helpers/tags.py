"""Tags of the contract, for a fit of `Regression(tanh_net())`."""

from collections.abc import Mapping
from typing import Any

from callbacks import (
    ActivationHistogram,
    GradStats,
    HealthCheck,
    SaturationMap,
    UpdateRatio,
)

LAYERS, PARAMS = ("net.1", "net.3"), ("net.0.weight", "net.2.weight", "net.4.weight")

PARTS = ("", "_mean", "_std")

TAGS: Mapping[Any, set[str]] = {
    ActivationHistogram: {
        f"activation{part}/{layer}" for part in PARTS for layer in LAYERS
    },
    GradStats: {f"activation_grad{part}/{layer}" for part in PARTS for layer in LAYERS}
    | {
        f"{plot}{part}/{param}"
        for plot in ("weight", "weight_grad")
        for part in PARTS
        for param in PARAMS
    }
    | {f"grad_data_ratio/{param}" for param in PARAMS}
    | {"grad_norm/total", "grad_norm/clipped", "grad_norm/clip_active"},
    UpdateRatio: {f"update_ratio/{param}" for param in PARAMS},
    SaturationMap: {
        f"{plot}/{layer}" for plot in ("saturation", "dead_units") for layer in LAYERS
    },
    HealthCheck: {"health/verdict"},
}

HISTOGRAMS = {"activation", "activation_grad", "weight_grad", "weight"}
