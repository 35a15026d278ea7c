"""Copies that a trial may change: of a model, and of a datamodule without its data."""

import copy
from typing import Any

import torch
from torch import nn

from .._messages import InstrumentError


def copy_model(model: nn.Module) -> Any:
    """Returns a deep copy of a model, without gradients; compiled modules are replaced by what they compile.

    Raises:
        InstrumentError: If the model cannot be copied; names the attribute.
    """
    model = getattr(model, "_orig_mod", model)
    try:
        copied = copy.deepcopy(model)
    except Exception as error:
        raise InstrumentError(
            f"{type(model).__name__} cannot be copied, and a trial changes its model: copy.deepcopy of "
            f"{_culprit(model)} raises {type(error).__name__}: {str(error).splitlines()[0]}"
        ) from error
    _copy_attributes(model, copied)
    for module in copied.modules():
        _uncompile(module)
    return copied


def _copy_attributes(model: nn.Module, copied: nn.Module) -> None:
    """Copies the attributes of parameters, such as a factor of their rate: `Parameter.__deepcopy__` leaves them out."""
    pairs = zip(model.parameters(), copied.parameters(), strict=True)
    for parameter, its_copy in pairs:
        for name, value in vars(parameter).items():
            vars(its_copy).setdefault(name, value)


def _culprit(model: nn.Module) -> str:
    """Returns the name of the first attribute that cannot be copied."""
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute in ("_modules", "_trainer", "_fabric"):
                continue
            try:
                copy.deepcopy(value)
            except Exception:
                return f"{name}.{attribute}" if name else f"self.{attribute}"
    return "the model"


def _uncompile(module: nn.Module) -> None:
    """Replaces compiled children: a trial of a few steps is no time to compile, and compiled layers have no hooks."""
    if getattr(module, "_compiled_call_impl", None) is not None:
        module._compiled_call_impl = None
    for name, child in module._modules.items():
        if child is not None and hasattr(child, "_orig_mod"):
            module._modules[name] = child._orig_mod  # type: ignore[assignment]


def copy_data(datamodule: Any) -> Any:
    """Returns a copy of a datamodule with its own attributes and containers, and the same datasets.

    A deep copy would double the memory of the data, or read a file that is mapped into memory.
    """
    copied = copy.copy(datamodule)
    for name, value in list(vars(copied).items()):
        copied.__dict__[name] = _copy_containers(value)
    return copied


def _copy_containers(value: Any) -> Any:
    if type(value) in (list, dict, set):
        return copy.copy(value)
    if isinstance(value, torch.Generator):
        return value.clone_state() if hasattr(value, "clone_state") else value
    return value
