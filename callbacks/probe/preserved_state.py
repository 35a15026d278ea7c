"""State of a model and of random number generators, saved before a step is run again and restored after it."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextlib.contextmanager
def preserved(root: nn.Module) -> Iterator[None]:
    """Restores parameters, buffers, attributes, hooks and modes of a model, and all random number generators."""
    attributes = [(module, _snapshot(module)) for module in root.modules()]
    tensors = [(tensor, tensor.detach().clone()) for tensor in _tensors(root)]
    numbers = random_state()
    try:
        yield
    finally:
        for module, snapshot in attributes:
            _restore(module, snapshot)
        with torch.no_grad():
            for tensor, values in tensors:
                # By `data`, so that a graph that has saved the tensor can still be backpropagated.
                tensor.data.copy_(values)
        set_random_state(numbers)


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


def _snapshot(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Returns the attributes of a module, each with a copy of it if it is a container."""
    return {name: (value, _copy(value)) for name, value in vars(module).items()}


def _copy(value: Any) -> Any:
    is_container = isinstance(value, list | dict | set)
    return value.copy() if is_container else None


def _restore(module: nn.Module, snapshot: dict[str, tuple[Any, Any]]) -> None:
    current = vars(module)
    for name in current.keys() - snapshot.keys():
        del current[name]
    for name, (value, contents) in snapshot.items():
        if isinstance(value, list):
            value[:] = contents
        elif isinstance(value, dict | set):
            value.clear()
            value.update(contents)
        current[name] = value


def _tensors(root: nn.Module) -> Iterator[Tensor]:
    """Yields parameters, buffers, and tensors that are attributes, such as the states of metrics, each once."""
    seen: set[int] = set()
    for module in root.modules():
        attributes = (
            *module._parameters.values(),
            *module._buffers.values(),
            *vars(module).values(),
        )
        for value in attributes:
            if isinstance(value, Tensor) and id(value) not in seen:
                seen.add(id(value))
                yield value
