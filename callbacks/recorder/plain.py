"""Batches and states as plain containers, which `torch.load(weights_only=True)` reads."""

import sys
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

CLASS, MEMBERS = "__class__", "__members__"
"""Keys of an object that was taken apart: its class, and its members by name."""

NOT_WRITTEN = ", not written>"
CONTAINERS = (list, tuple, deque, set, frozenset, Mapping)
ATOMS = (str, bytes, int, float, bool, complex, torch.dtype, torch.device, torch.Size)


UNSIGNED = ("uint16", "uint32", "uint64")
"""Types of NumPy arrays that PyTorch 2.3 cannot write: they are kept as the bits of signed ones."""


def to_plain(value: Any) -> Any:
    """Returns a value as plain containers and tensors.

    Dataclasses, named tuples, sets, queues and mappings of any class are taken apart and keep the name of their class;
    NumPy arrays become tensors. Any other object becomes a text that says what it was.

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
    if isinstance(value, CONTAINERS) or is_dataclass(value):
        return _taken_apart(value)
    return _plain_number(value)


def _plain_tensor(tensor: Tensor) -> Tensor:
    """Returns a copy on the CPU, without graph; of a view, no more than its own values; of a subclass, the tensor."""
    copied = tensor.detach().to("cpu", copy=True)
    is_plain = type(copied) is Tensor or copied.is_nested
    return copied if is_plain else copied.as_subclass(Tensor)


def _taken_apart(value: Any) -> dict[str, Any]:
    kind = type(value)
    members: dict[Any, Any]
    if isinstance(value, Mapping):
        members = {key: value[key] for key in value}
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        members = dict(zip(value._fields, value, strict=True))  # type: ignore[attr-defined]
    elif isinstance(value, list | tuple | deque | set | frozenset):
        members = {CLASS: list(value), "maxlen": getattr(value, "maxlen", None)}
    else:
        names = [each.name for each in fields(value) if hasattr(value, each.name)]
        members = {name: getattr(value, name) for name in names}
    name = f"{kind.__module__}:{kind.__qualname__}"
    return {CLASS: name, MEMBERS: to_plain(members)}


def _plain_number(value: Any) -> Any:
    """Returns a NumPy array or number as a tensor or number; of anything else, a text."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return to_plain(value.item())
    if numpy is not None and isinstance(value, numpy.ndarray):
        native = value.astype(value.dtype.newbyteorder("="))
        if native.dtype.name in UNSIGNED:
            bits = torch.from_numpy(native.view(f"i{native.itemsize}"))
            return {CLASS: f"numpy:{native.dtype.name}", MEMBERS: bits}
        try:
            members = torch.from_numpy(native)
        except TypeError:  # an array of objects or texts
            members = value.tolist()
        return {CLASS: "numpy:ndarray", MEMBERS: to_plain(members)}
    return f"<{type(value).__module__}.{type(value).__qualname__}{NOT_WRITTEN}"


def left_out(value: Any) -> set[str]:
    """Returns the texts that stand for objects which could not be written.

    Example:
        >>> left_out(to_plain({"ids": [1, 2], "image": object()}))
        {'<builtins.object, not written>'}
    """
    if isinstance(value, str):
        return {value} if value.endswith(NOT_WRITTEN) else set()
    members: Any = ()
    if isinstance(value, Mapping):
        members = value.values()
    elif isinstance(value, list | tuple):
        members = value
    return set().union(*map(left_out, members))


def without_left_out(value: Any) -> Any:
    """Returns nested containers without the entries of mappings that could not be written."""
    if type(value) is dict:
        return {
            key: without_left_out(member)
            for key, member in value.items()
            if not (isinstance(member, str) and member.endswith(NOT_WRITTEN))
        }
    if type(value) in (list, tuple):
        return type(value)(map(without_left_out, value))
    return value


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
    if name.removeprefix("numpy:") in UNSIGNED:
        return members.numpy().view(name.removeprefix("numpy:"))
    if name == "numpy:ndarray":
        is_tensor = isinstance(members, Tensor)
        return members.numpy() if is_tensor else _array_of(members)
    kind: Any = _find_class(name)
    if issubclass(kind, deque):
        return kind(members[CLASS], members["maxlen"])
    if CLASS in members:
        return kind(members[CLASS])
    if is_dataclass(kind):
        return _with_fields(kind, members)
    if not issubclass(kind, Mapping):
        return kind(**members)
    make: Any = kind
    return make(None, members) if issubclass(kind, defaultdict) else make(members)


def _array_of(members: Any) -> Any:
    """Returns a NumPy array of objects or texts."""
    return sys.modules["numpy"].array(members, dtype=object)


def _with_fields(kind: Any, members: Mapping[str, Any]) -> Any:
    """Returns a dataclass with its fields as they were, without what its `__init__` does to them."""
    value: Any = object.__new__(kind)
    for name, member in members.items():
        object.__setattr__(value, name, member)
    return value


def _find_class(full_name: str) -> type:
    """Returns a class of a module that the program has imported."""
    module, _, path = full_name.partition(":")
    kind: Any = sys.modules.get(module)
    for name in path.split("."):
        kind = getattr(kind, name, None)
    if not isinstance(kind, type):
        raise LookupError(
            f"the bundle has objects of {module}.{path}, and there is no such class: import {module} first"
        )
    if not (issubclass(kind, CONTAINERS) or is_dataclass(kind)):
        raise LookupError(f"{module}.{path} is no container")
    return kind
