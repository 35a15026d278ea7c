"""Restoration of what a trial shares with the caller: random number generators and objects of the data."""

import contextlib
import random
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..probe.generators import Restore, generator_state

DEPTH = 4
"""Attributes and items between the data and an object whose state is restored, at most."""

MOST_ITEMS = 1000
"""Items of a container that are searched, at most: a dataset may be a list of a million rows."""


@contextlib.contextmanager
def untouched(data: Any, on_accelerator: bool) -> Iterator[None]:
    """Restores random number generators and the attributes of a dataloader, its sampler and dataset at the end.

    Args:
        data: Dataloader or LightningDataModule.
        on_accelerator: Whether generators of accelerators may be used, too.
    """
    restores = [*_global_generators(on_accelerator), *_states_of(data)]
    try:
        yield
    finally:
        for restore in restores:
            restore()


def _global_generators(on_accelerator: bool) -> Iterator[Restore]:
    python, host = random.getstate(), torch.get_rng_state()
    yield lambda: random.setstate(python)
    yield lambda: torch.set_rng_state(host)
    if (numpy := sys.modules.get("numpy")) is not None:
        state = numpy.random.get_state()
        yield lambda: numpy.random.set_state(state)
    if on_accelerator and torch.cuda.is_available():
        devices = torch.cuda.get_rng_state_all()
        yield lambda: torch.cuda.set_rng_state_all(devices)
    if on_accelerator and torch.backends.mps.is_available():
        device = torch.mps.get_rng_state()
        yield lambda: torch.mps.set_rng_state(device)


def _states_of(data: Any) -> Iterator[Restore]:
    """Yields what restores the generators and the attributes of all objects that data leads to."""
    seen: set[int] = set()
    waiting = [(data, DEPTH)]
    while waiting:
        value, depth = waiting.pop()
        if id(value) in seen or isinstance(value, Tensor | nn.Module | type):
            continue
        seen.add(id(value))
        restore = generator_state(value)
        if restore is not None:
            yield restore
            continue
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict) and not callable(value):
            yield _attribute_state(attributes)
        if depth:
            waiting += [(member, depth - 1) for member in _members(value, attributes)]


def _attribute_state(attributes: dict[str, Any]) -> Restore:
    before = dict(attributes)

    def restore() -> None:
        attributes.clear()
        attributes.update(before)

    return restore


def _members(value: Any, attributes: dict[str, Any] | None) -> list[Any]:
    if isinstance(value, dict):
        members = list(value.values())
    elif isinstance(value, list | tuple):
        members = list(value[:MOST_ITEMS])
    else:
        pairs = (attributes or {}).items()
        members = [member for name, member in pairs if "trainer" not in name]
    return members if len(members) <= MOST_ITEMS else []
