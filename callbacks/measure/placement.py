"""Placement of tensors: whether numbers can be read without waiting for a device, and the one copy that brings them."""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

ALIGNMENT = 8
"""Bytes that the offset of a tensor of any type in a packed buffer is a multiple of."""

_simulating = ContextVar("simulating", default=False)


@contextlib.contextmanager
def simulated_device() -> Iterator[None]:
    """Treats CPU tensors as if on an accelerator, so that its path can be tested and counted without one."""
    token = _simulating.set(True)
    try:
        yield
    finally:
        _simulating.reset(token)


def is_readable(values: Tensor) -> bool:
    """True if numbers can be read from a tensor without waiting for a device.

    False inside `torch.func.grad`, until that returns. PyTorch has no public way to ask for either.

    Raises:
        TypeError: Inside `torch.func.vmap`, where a tensor stands for many.
    """
    wrappers: Any = torch._C._functorch  # type: ignore[attr-defined]
    if not wrappers.is_functorch_wrapped_tensor(values):
        return values.device.type == "cpu" and not _simulating.get()
    while wrappers.is_functorch_wrapped_tensor(values):
        if wrappers.is_batchedtensor(values):
            raise TypeError(
                "a layer is called inside torch.func.vmap, where a tensor stands for many"
            )
        values = wrappers.get_unwrapped(values)
    return False


def are_readable(tensors: Sequence[Tensor]) -> bool:
    """True if numbers can be read from all of many tensors, none of which is inside a transform of functorch."""
    return not _simulating.get() and all(tensor.is_cpu for tensor in tensors)


def copy_together(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Returns contiguous copies of tensors.

    On an accelerator, those of one type are views of one copy: one kernel for all of them. On the CPU, a copy of each
    takes less time.
    """
    if len(tensors) == 1 or are_readable(tensors):
        return [each.clone(memory_format=torch.contiguous_format) for each in tensors]
    copies: list[Tensor] = list(tensors)
    for kind in {(tensor.device, tensor.dtype) for tensor in tensors}:
        indices = [
            index
            for index, tensor in enumerate(tensors)
            if (tensor.device, tensor.dtype) == kind
        ]
        joined = torch.cat([tensors[index].reshape(-1) for index in indices])
        pieces = joined.split([tensors[index].numel() for index in indices])
        for index, piece in zip(indices, pieces, strict=True):
            copies[index] = piece.view(tensors[index].shape)
    return copies


def copy_to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies tensors of any types to the CPU, in one transfer a device."""
    copies = list(tensors)
    pending = [index for index, tensor in enumerate(tensors) if not is_readable(tensor)]
    for device in {tensors[index].device for index in pending}:
        indices = [index for index in pending if tensors[index].device == device]
        sources = [tensors[index] for index in indices]
        for index, copied in zip(
            indices, unpack(transfer(pack(sources)), sources), strict=True
        ):
            copies[index] = copied
    return copies


def transfer(packed: Tensor) -> Tensor:
    """Copies one packed buffer to the CPU: the only wait for a device."""
    return packed.cpu()


def pack(tensors: Sequence[Tensor]) -> Tensor:
    """Joins tensors of one device, of any types, into one of bytes."""
    buffers: list[Tensor] = []
    padding = None
    for tensor in tensors:
        flat = tensor.detach().contiguous().reshape(-1)
        # PyTorch refuses to view tensors of one or no element with a stride other than 1 as bytes.
        buffer = flat.as_strided(flat.shape, (1,)).view(torch.uint8)
        buffers.append(buffer)
        if len(buffer) % ALIGNMENT:
            padding = buffer.new_zeros(ALIGNMENT) if padding is None else padding
            buffers.append(padding[: -len(buffer) % ALIGNMENT])
    return torch.cat(buffers)


def unpack(packed: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Takes apart what `pack` joined, given tensors of those types and shapes."""
    tensors, start = [], 0
    for tensor in like:
        size = tensor.numel() * tensor.element_size()
        tensors.append(
            packed[start : start + size].view(tensor.dtype).reshape(tensor.shape)
        )
        start += size + -size % ALIGNMENT
    return tensors
