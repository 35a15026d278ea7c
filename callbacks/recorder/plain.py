"""Batches and states as plain containers, which `torch.load(weights_only=True)` reads."""

import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

CLASS, MEMBERS = "__class__", "__members__"
"""Keys of an object that was taken apart: its class, and its members by name."""

ATOMS = (str, bytes, int, float, bool, complex, torch.dtype, torch.device, torch.Size)


def to_plain(value: Any) -> Any:
    """Returns a value as plain containers and tensors.

    Dataclasses, named tuples and mappings of any class are taken apart and keep the name of their class; NumPy arrays
    become tensors. Any other object becomes a text that says what it was.

    Example:
        >>> to_plain({"ids": (1, 2), "name": {"first": "emma"}})
        {'ids': (1, 2), 'name': {'first': 'emma'}}
    """
    if isinstance(value, Tensor):
        return _plain_tensor(value)
    if value is None or type(value) in ATOMS:
        return value
    if type(value) in (list, tuple):
        return type(value)(to_plain(member) for member in value)
    if type(value) is dict:
        return {to_plain(key): to_plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple | Mapping) or is_dataclass(value):
        return _taken_apart(value)
    return _plain_number(value)


def _plain_tensor(tensor: Tensor) -> Tensor:
    """Returns a copy on the CPU, without graph; of a view, no more than its own values."""
    return tensor.detach().to("cpu", copy=True)


def _taken_apart(value: Any) -> dict[str, Any]:
    kind = type(value)
    members: dict[Any, Any]
    if isinstance(value, Mapping):
        members = {key: value[key] for key in value}
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        members = dict(zip(value._fields, value, strict=True))  # type: ignore[attr-defined]
    elif isinstance(value, list | tuple):
        members = {"": list(value)}
    else:
        members = {each.name: getattr(value, each.name) for each in fields(value)}
    name = f"{kind.__module__}:{kind.__qualname__}"
    return {CLASS: name, MEMBERS: to_plain(members)}


def _plain_number(value: Any) -> Any:
    """Returns a NumPy array or number as a tensor or number; of anything else, a text."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return to_plain(value.item())
    if numpy is not None and isinstance(value, numpy.ndarray):
        try:
            members = torch.from_numpy(value.copy())
        except TypeError:  # an array of objects or texts
            members = value.tolist()
        return {CLASS: "numpy:ndarray", MEMBERS: to_plain(members)}
    return f"<{type(value).__module__}.{type(value).__qualname__}, not written>"


def from_plain(value: Any) -> Any:
    """Returns the value that `to_plain` was given.

    Raises:
        LookupError: If a class is not there: a file does not decide what is imported.
    """
    if type(value) in (list, tuple):
        return type(value)(from_plain(member) for member in value)
    if type(value) is not dict:
        return value
    if set(value) == {CLASS, MEMBERS}:
        return _put_together(value[CLASS], from_plain(value[MEMBERS]))
    return {key: from_plain(member) for key, member in value.items()}


def _put_together(name: str, members: Any) -> Any:
    if name == "numpy:ndarray":
        return members.numpy() if isinstance(members, Tensor) else members
    kind: Any = _find_class(name)
    if "" in members:
        return kind(members[""])
    return kind(members) if _is_mapping(kind) else kind(**members)


def _is_mapping(kind: type) -> bool:
    return issubclass(kind, Mapping)


def _find_class(full_name: str) -> type:
    """Returns a class of a module that the program has imported."""
    module, _, path = full_name.partition(":")
    kind: Any = sys.modules.get(module)
    for name in path.split("."):
        kind = getattr(kind, name, None)
    if not isinstance(kind, type):
        raise LookupError(
            f"the batch has objects of {module}.{path}: import {module} first"
        )
    if not (issubclass(kind, list | tuple | Mapping) or is_dataclass(kind)):
        raise LookupError(f"{module}.{path} is no container")
    return kind
