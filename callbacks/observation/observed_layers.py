"""Layers of a due step, as the rules of HealthCheck read them."""

from collections.abc import Iterable
from typing import Any

from ..health.observation import Layer
from ..measure.activations import DEFAULTS
from ..measure.moments import Moments
from ..measure.saturation import Saturation
from ..probe.measurements import Measurements
from ..probe.names import Origin
from ..probe.structure import Structure
from .health_requests import HealthRequests


def layers_of(
    measurements: Measurements,
    requests: HealthRequests,
    structure: Structure,
    optimizers: int,
) -> dict[str, Layer]:
    """Returns the observed layers, activations first, then repeated blocks, each in the order of their calls."""
    gradients = measurements.of(requests.gradients)
    saturations = measurements.of(requests.saturations)
    is_split = optimizers > 1
    ends = last_of_networks(measurements) if is_split else set()
    blocks = list(measurements.plan.model.blocks)
    layers: dict[str, Layer] = {}
    for name, moments in measurements.of(requests.activations).items():
        origin = measurements.origins[name]
        saturation = saturations.get(name)
        kind = kind_of(origin, measurements)
        group, is_in_block = group_of(origin, kind, blocks, is_split)
        layers[name] = Layer(
            kind,
            group,
            is_in_block=is_in_block,
            is_output=name in structure.output_layers or name in ends,
            is_gate=name in structure.gates,
            std=moments.std,
            grad_norm=norm_of(gradients.get(name)),
            **saturation_fields(saturation),
        )
    return layers | blocks_of(measurements, requests)


def saturation_fields(saturation: Saturation | None) -> dict[str, Any]:
    """Returns the fields of a `Layer` that come from its saturation."""
    if saturation is None:
        return {}
    units = max(saturation.units, 1)
    return {
        "saturated": saturation.fraction,
        "is_switched": saturation.off is not None,
        "dead": saturation.dead,
        "examples": saturation.count // units,
    }


def blocks_of(measurements: Measurements, requests: HealthRequests) -> dict[str, Layer]:
    """Returns the repeated blocks; their outputs are the residual stream of a transformer or a ResNet."""
    gradients = measurements.of(requests.block_gradients)
    layers: dict[str, Layer] = {}
    for name, moments in measurements.of(requests.blocks).items():
        origin = measurements.origins[name]
        kind = measurements.plan.model.kinds.get(origin.layer, "")
        group = f"{origin.layer.rpartition('.')[0]}/{kind}{origin.member}"
        layers[name] = Layer(
            kind,
            group,
            is_block=True,
            std=moments.std,
            grad_norm=norm_of(gradients.get(name)),
        )
    return layers


def std_of(moments: Moments | None) -> float | None:
    """Returns the standard deviation; None where nothing was measured."""
    return None if moments is None else moments.std


def norm_of(moments: Moments | None) -> float | None:
    """Returns the L2 norm, which good initializations keep from layer to layer; None where nothing was measured."""
    return None if moments is None else moments.norm


def group_of(
    origin: Origin, kind: str, blocks: Iterable[str], is_split: bool
) -> tuple[str, bool]:
    """Returns the name of the layers that an activation can be compared with, and whether it is inside a block.

    Args:
        origin: Place of the activation.
        kind: Its `torch.nn` name.
        blocks: Names of the repeated blocks: activations of a branch are compared with those of other branches.
        is_split: Whether there are several networks, each with an optimizer.
    """
    if kind not in DEFAULTS:
        return "", False
    network = origin.layer.partition(".")[0] if is_split else ""
    for block in blocks:
        if origin.layer == block or origin.layer.startswith(f"{block}."):
            inside = origin.layer[len(block) :]
            return f"{network} {kind} in blocks{inside} {origin.member}", True
    return f"{network} {kind}", False


def kind_of(origin: Origin, measurements: Measurements) -> str:
    """Returns the `torch.nn` name of an activation, or the class name of another layer."""
    return origin.kind or measurements.plan.model.kinds.get(origin.layer, "")


def last_of_networks(measurements: Measurements) -> set[str]:
    """Returns the activations that end one of several networks, such as the tanh of a GAN's generator."""
    root = measurements.plan.model.root
    networks = {
        name: child
        for name, child in root.named_children()
        if any(param.ndim > 1 for param in child.parameters())
    }
    ends = set()
    for name, child in networks.items() if len(networks) > 1 else ():
        leaves = [
            path
            for path, module in child.named_modules()
            if not list(module.children())
        ]
        ends |= {f"{name}.{leaves[-1]}"} if leaves else set()
    return ends
