"""One copy from a device to the host, however many numbers have to make the way."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from ._statistics import on_host

ALIGNED = 8
"""Bytes that the place of a number of any type is a multiple of."""


class Pending(Protocol):
    """A measurement whose numbers may still be on a device."""

    def tensors(self) -> list[Tensor]:
        """Returns the tensors that have to make the way."""
        ...

    def value(self, tensors: list[Tensor]) -> Any:
        """Returns the measurement, given those tensors on the host; None if nothing was measured."""
        ...


Name = TypeVar("Name")


def fetch(pending: Mapping[Name, Pending]) -> dict[Name, Any]:
    """Brings measurements to the host: one copy, and one wait, a device. Leaves out those that measured nothing."""
    waiting = {name: measurement.tensors() for name, measurement in pending.items()}
    arrived = iter(to_host([tensor for tensors in waiting.values() for tensor in tensors]))
    values = {name: pending[name].value([next(arrived) for _ in tensors]) for name, tensors in waiting.items()}
    return {name: value for name, value in values.items() if value is not None}


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies tensors of any types to the host, one copy a device."""
    found = list(tensors)
    places = [i for i, tensor in enumerate(tensors) if not on_host(tensor)]
    for device in {tensors[i].device for i in places}:
        there = [i for i in places if tensors[i].device == device]
        packed = pack([tensors[i] for i in there]).cpu()
        for i, tensor in zip(there, unpack(packed, [tensors[i] for i in there]), strict=True):
            found[i] = tensor
    return found


def pack(tensors: Sequence[Tensor]) -> Tensor:
    """Joins tensors of one device, of any types, into one of bytes."""
    parts: list[Tensor] = []
    for tensor in tensors:
        flat = tensor.detach().contiguous().reshape(-1)
        # Of one element and of none PyTorch keeps any stride, and refuses to view them as bytes.
        raw = flat.as_strided(flat.shape, (1,)).view(torch.uint8)
        parts += [raw, raw.new_zeros(-len(raw) % ALIGNED)]
    return torch.cat(parts)


def unpack(packed: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Takes apart what `pack` joined, given tensors of those types and shapes."""
    found, start = [], 0
    for tensor in like:
        size = tensor.numel() * tensor.element_size()
        found.append(packed[start : start + size].view(tensor.dtype).reshape(tensor.shape))
        start += size + -size % ALIGNED
    return found
