"""Facts of a fit that decide on a step: settings of the Trainer, versions, device."""

import math
import platform
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any

import torch

from .._lightning import LightningModule, Trainer

PACKAGES = ("torch", "lightning", "pytorch_lightning", "numpy")


def facts_of(trainer: Trainer, module: LightningModule) -> dict[str, Any]:
    """Returns the facts of a fit, as JSON takes them."""
    return {
        "model": f"{type(module).__module__}:{type(module).__qualname__}",
        "hyperparameters": as_json(dict(module.hparams)),
        "trainer": trainer_arguments(trainer, module.automatic_optimization),
        "rank": trainer.global_rank,
        "ranks": trainer.world_size,
        "device": device_name(trainer.strategy.root_device),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "versions": versions(),
    }


def trainer_arguments(trainer: Trainer, is_automatic: bool) -> dict[str, Any]:
    """Returns the arguments of the Trainer that a step depends on."""
    arguments = {
        "precision": trainer.precision,
        "gradient_clip_val": trainer.gradient_clip_val,
        "gradient_clip_algorithm": trainer.gradient_clip_algorithm,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "max_epochs": trainer.max_epochs,
        "max_steps": trainer.max_steps,
    }
    if not is_automatic:
        del arguments["accumulate_grad_batches"]
    return as_json(arguments)


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages in use."""
    numbers = {"python": platform.python_version()}
    for name in PACKAGES:
        if (module := sys.modules.get(name)) is not None:
            numbers[name] = str(module.__version__)
    return numbers | {"platform": platform.platform()}


def device_name(device: torch.device) -> str:
    """Returns the kind of a device, and its model where PyTorch has it."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def as_json(value: Any) -> Any:
    """Returns a value as JSON takes it; what is no container, text or number becomes a text."""
    if isinstance(value, Mapping):
        return {str(key): as_json(member) for key, member in value.items()}
    if isinstance(value, list | tuple | set):
        return [as_json(member) for member in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Enum):
        return as_json(value.value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
