"""Tags of the contract, for a fit of `Regression(tanh_net())`."""

from collections.abc import Mapping
from typing import Any

from callbacks import (
    ActivationHistogram,
    GradStats,
    HealthCheck,
    NumberRange,
    SaturationMap,
    UpdateRatio,
)

LAYERS, PARAMS = ("net.1", "net.3"), ("net.0.weight", "net.2.weight", "net.4.weight")

PARTS = ("", "_mean", "_std")

TENSORS = (
    *(f"activation/{layer}" for layer in LAYERS),
    *(f"activation_grad/{layer}" for layer in LAYERS),
    *(
        f"{plot}/{param}"
        for plot in ("weight", "weight_grad", "update")
        for param in PARAMS
    ),
)

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
    NumberRange: {
        f"{name}_{kind}/{tensor}"
        for name in ("fp16", "bf16", "e4m3", "e5m2")
        for kind in ("zero", "underflow", "subnormal", "overflow")
        for tensor in TENSORS
    },
    HealthCheck: {"health/verdict"},
}

HISTOGRAMS = {"activation", "activation_grad", "weight_grad", "weight"}
