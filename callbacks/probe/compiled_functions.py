"""Compiled functions that a model calls: `torch.compile(function)`, which no module tells of."""

import sys
from collections.abc import Iterable, Iterator
from types import FunctionType
from typing import Any

from torch import nn

DEPTH = 4
"""Calls from a module's method to a compiled function that are followed, at most."""


def compiled_functions(modules: Iterable[nn.Module]) -> list[Any]:
    """Returns functions given to `torch.compile` that the methods or attributes of a model lead to.

    Dynamo compiles a torch function mode along with such a function, and hooks on the layers that it calls.
    """
    if not is_compiler_in_use():
        return []
    modules = list(modules)
    attributes = (value for module in modules for value in _flat(vars(module).values()))
    methods = (
        method
        for kind in {type(module) for module in modules}
        for method in _methods(kind)
    )
    compiled: list[Any] = []
    seen: set[int] = set()
    for value in (*attributes, *methods):
        _collect(value, compiled, seen, DEPTH)
    return compiled


def owner_of(function: Any) -> nn.Module | None:
    """Returns the module whose method a compiled function is; None of any other function."""
    owner = getattr(function._torchdynamo_orig_callable, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def is_compiler_in_use() -> bool:
    """True if anything in this process was given to `torch.compile`. PyTorch has no public way to ask."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    backends = getattr(dynamo, "cached_backends", {})
    return any(backend is not None for backend in backends.values())


def _collect(value: Any, compiled: list[Any], seen: set[int], depth: int) -> None:
    """Adds the compiled functions that a value leads to, by the names and closures of plain functions."""
    if isinstance(value, nn.Module):
        return
    if getattr(value, "_torchdynamo_orig_callable", None) is not None:
        compiled.append(value)
        return
    value = getattr(value, "__func__", value)  # of a bound method
    if not isinstance(value, FunctionType) or id(value) in seen or not depth:
        return
    seen.add(id(value))
    if not value.__module__.startswith("torch."):
        for used in _used_by(value):
            _collect(used, compiled, seen, depth - 1)


def _used_by(function: FunctionType) -> Iterator[Any]:
    """Yields the globals and the variables of enclosing functions that a function names."""
    yield from _flat(
        function.__globals__.get(name) for name in function.__code__.co_names
    )
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue


def _methods(kind: type) -> Iterator[Any]:
    for base in kind.__mro__:
        if not base.__module__.startswith(
            ("torch.", "lightning.", "pytorch_lightning.", "lightning_fabric.")
        ):
            yield from vars(base).values()


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    """Yields values, and those inside lists, tuples and dicts."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from value
        elif isinstance(value, dict):
            yield from list(value.values())
        else:
            yield value
