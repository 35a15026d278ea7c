"""What an instrument cannot see, so that it can say so instead of writing a wrong number."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import nn

STRATEGIES = {
    "FSDPStrategy": "it flattens parameters; ModelParallelStrategy with fully_shard does not",
    "DeepSpeedStrategy": "it holds parameters and gradients in places of its own",
    "XLAStrategy": "its tensors are not there before the step is compiled",
}
"""Strategies under which gradients and parameters are not where PyTorch has them, and why."""


def why_not(trainer: Trainer) -> str | None:
    """Returns why nothing can be measured under a Trainer's strategy; None if it can."""
    strategy = trainer.strategy
    for base in type(strategy).__mro__:
        if base.__name__ in STRATEGIES:
            return f"cannot measure under {type(strategy).__name__}: {STRATEGIES[base.__name__]}."
    mesh: Any = getattr(strategy, "device_mesh", None)
    if "tensor_parallel" in (getattr(mesh, "mesh_dim_names", None) or ()) and mesh["tensor_parallel"].size() > 1:
        return "cannot measure under tensor parallelism: what a layer returns is then a part of its output."
    return None


def out_of_sight(root: nn.Module, layers: Mapping[str, nn.Module]) -> set[str]:
    """Returns the names of the layers whose calls no hook sees.

    What is compiled has no hooks but those that were there when it was. Those would be compiled along: the compiler
    then keeps other values in memory and rounds others, so that weights are no longer those of a training without; and
    where a due step went around the compiled code, dropout would draw other numbers. TorchScript has no hooks. A
    compiled module as a whole can be seen, its layers cannot.
    """
    everything = getattr(root, "_compiler_ctx", None) is not None  # Lightning's note on a module compiled as a whole
    hidden: set[nn.Module] = set(root.modules()) if everything else set()
    for module in root.modules():
        if getattr(module, "_compiled_call_impl", None) is not None:  # by `module.compile()`
            hidden |= set(module.modules())
        elif hasattr(module, "_orig_mod"):  # by `torch.compile(module)`
            hidden |= set(module.modules()) - {module}
    return {name for name, layer in layers.items() if layer in hidden or isinstance(layer, torch.jit.ScriptModule)}
