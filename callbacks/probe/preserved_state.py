"""State of a model and of random number generators, saved before a step is run again and restored after it."""

import contextlib
import random
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter

from .generators import Restore, generator_state

CONTAINERS = (list, dict, set, deque)
FOREIGN = {"torch", "lightning", "pytorch_lightning"}
"""Packages whose objects a step does not own."""

TRAINERS = ("_trainer", "_fabric")
"""Attributes of a LightningModule with all of the training."""


@contextlib.contextmanager
def preserved(root: nn.Module) -> Iterator[None]:
    """Restores parameters, buffers, gradients, attributes, hooks and modes of a model, and random number generators.

    Attributes are restored with what their containers hold: tensors, generators, and other containers; and those of
    helper objects, of the packages that the modules are of. Iterators cannot be restored; see `has_iterators`.
    """
    objects = list(_objects(root))
    restores = [_attributes(each) for each in (*root.modules(), *objects)]
    restores += [restore for each in objects if (restore := generator_state(each))]
    restores += [_contents(each) for each in objects if isinstance(each, CONTAINERS)]
    tensors = [
        each for each in objects if isinstance(each, Tensor) and _is_writable(each)
    ]
    copies = [(tensor, tensor.detach().clone()) for tensor in tensors]
    gradients = [(param, param.grad) for param in root.parameters()]
    numbers = random_state()
    try:
        with _versions_kept(tensors):
            for param, _ in gradients:
                param.grad = None  # a step may call `backward` itself
            yield
    finally:
        for restore in restores:
            restore()
        with torch.no_grad():
            for tensor, values in copies:
                # By `data`, so that a graph that has saved the tensor can still be backpropagated.
                tensor.data.copy_(values)
        for param, gradient in gradients:
            param.grad = gradient
        set_random_state(numbers)


@contextlib.contextmanager
def _versions_kept(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Restores PyTorch's count of changes in place, which a graph that has saved a tensor compares."""
    with contextlib.ExitStack() as stack:
        for tensor in tensors:
            stack.enter_context(_unsafe_preserve_version_counter(tensor))
        yield


def has_iterators(root: nn.Module) -> bool:
    """True if an attribute of a module is an iterator: a step that takes from it cannot be run without a trace."""
    return any(
        hasattr(type(value), "__next__")
        for module in root.modules()
        for value in vars(module).values()
    )


def random_state() -> dict[str, Any]:
    """Returns the states of all random number generators."""
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": np.random.get_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Sets the random number generators that a state is there for."""
    torch.set_rng_state(state["torch"])
    if "python" in state:
        random.setstate(state["python"])
    if "numpy" in state:
        np.random.set_state(state["numpy"])
    if "cuda" in state:
        torch.cuda.set_rng_state_all(state["cuda"])


def _is_writable(tensor: Tensor) -> bool:
    """True unless PyTorch refuses to change a tensor in place: one of inference mode, or an expanded one."""
    sizes = () if tensor.layout != torch.strided else tensor.shape
    strides = tensor.stride() if sizes else ()
    is_expanded = any(
        size > 1 and stride == 0 for size, stride in zip(sizes, strides, strict=True)
    )
    return not (tensor.is_inference() or tensor.is_nested or is_expanded)


def _attributes(value: Any) -> Restore:
    """Returns a function that restores the attributes of a module or helper; see `_contents` for what they hold."""
    current = vars(value) if _has_state(value) else {}
    before = dict(current)

    def restore() -> None:
        for name in current.keys() - before.keys():
            del current[name]
        current.update(before)

    return restore


def _has_state(value: Any) -> bool:
    """True if an object has attributes that a step may change."""
    has_attributes = isinstance(getattr(value, "__dict__", None), dict)
    return has_attributes and not isinstance(value, type | Tensor)


def _contents(container: Any) -> Restore:
    """Returns a function that restores the members of a container."""
    members = container.copy()

    def restore() -> None:
        container.clear()
        is_sequence = isinstance(container, list | deque)
        (container.extend if is_sequence else container.update)(members)

    return restore


def _objects(root: nn.Module) -> Iterator[Any]:
    """Yields what the attributes of all modules hold, and what the containers in them hold, each once."""
    packages = {_package(module) for module in root.modules()} - FOREIGN
    waiting = [
        value
        for module in root.modules()
        for name, value in vars(module).items()
        if name not in TRAINERS
    ]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        is_helper = _package(value) in packages and _has_state(value)
        if (
            isinstance(value, (*CONTAINERS, tuple, Tensor))
            or is_helper
            or generator_state(value) is not None
        ):
            yield value
        waiting += _members(value, is_helper)


def _package(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _members(value: Any, is_helper: bool) -> list[Any]:
    """Returns what a container holds, or the attributes of a helper."""
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | tuple | set | deque):
        return list(value)
    is_module = isinstance(value, nn.Module)
    return list(vars(value).values()) if is_helper and not is_module else []
