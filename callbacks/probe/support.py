"""Limits of observation: strategies and compiled layers of which every number would be wrong."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from .._lightning import Trainer
from .compiled_functions import compiled_functions, owner_of

STRATEGIES = {
    "FSDPStrategy": "it flattens parameters; ModelParallelStrategy with fully_shard does not",
    "DeepSpeedStrategy": "it holds parameters and gradients in places of its own",
    "XLAStrategy": "its tensors are not there before the step is compiled",
}
"""Strategies under which gradients and parameters are not where PyTorch has them, and why."""

FUSED = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)
"""Modules with a fused forward pass for inference."""


def why_unsupported(trainer: Trainer) -> str | None:
    """Returns why nothing can be measured in a Trainer's fit; None if it can."""
    # Every hook calls it. Before torch 2.3, too, `torch.compile` made optimizers lose their hooks.
    if not hasattr(getattr(torch, "compiler", None), "is_compiling"):
        return f"needs PyTorch 2.3 or newer, not {torch.__version__}."
    strategy = trainer.strategy
    for base in type(strategy).__mro__:
        if base.__name__ in STRATEGIES:
            return f"cannot measure under {type(strategy).__name__}: {STRATEGIES[base.__name__]}."
    mesh: Any = getattr(strategy, "device_mesh", None)
    if (
        "tensor_parallel" in (getattr(mesh, "mesh_dim_names", None) or ())
        and mesh["tensor_parallel"].size() > 1
    ):
        return "cannot measure under tensor parallelism: what a layer returns is then a part of its output."
    return None


def unobservable_modules(
    root: nn.Module, modules: Sequence[nn.Module]
) -> set[nn.Module]:
    """Returns the modules whose calls no hook may observe.

    Compiled code has no hooks but those that were there when it was compiled. Those would be compiled along: the
    compiler then keeps other values in memory and rounds others, so that weights are no longer those of a training
    without; and a hook makes Dynamo compile containers that it leaves alone otherwise. TorchScript has no hooks. A
    module wrapped by `torch.compile` can be observed as a whole, its layers cannot.
    """
    # Set by Lightning on a LightningModule that is compiled as a whole.
    if getattr(root, "_compiler_ctx", None) is not None:
        return set(root.modules())
    hidden: set[nn.Module] = set()
    for module in modules:
        # Set by `module.compile()`, and by `torch.compile(module)`.
        if getattr(module, "_compiled_call_impl", None) is not None:
            hidden |= set(module.modules())
        elif hasattr(module, "_orig_mod"):
            hidden |= set(module.modules()) - {module}
        elif isinstance(module, torch.jit.ScriptModule):
            hidden.add(module)
    for function in compiled_functions(modules):
        if (
            owner := owner_of(function)
        ) is not None:  # a compiled method may call any layer of its module
            hidden |= set(owner.modules())
    return hidden


def is_compiled(root: nn.Module, modules: Sequence[nn.Module]) -> bool:
    """True if any part of a model is compiled, or a function that it calls."""
    if getattr(root, "_compiler_ctx", None) is not None:
        return True
    compiled = (
        getattr(module, "_compiled_call_impl", None) is not None
        or hasattr(module, "_orig_mod")
        for module in modules
    )
    return any(compiled) or bool(compiled_functions(modules))


def fast_path_modules(modules: Iterable[nn.Module]) -> set[nn.Module]:
    """Returns the frozen attention modules and what they consist of.

    In eval mode PyTorch computes them by one fused operation, unless they have hooks or a torch function mode is on: to
    observe them would change what they return.
    """
    hidden: set[nn.Module] = set()
    for module in modules:
        is_frozen = not any(param.requires_grad for param in module.parameters())
        if isinstance(module, FUSED) and is_frozen:
            hidden |= set(module.modules())
    return hidden
