"""Ranks: the part of a tensor that a rank measures, and the one gather that pools the measurements of all."""

from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def own_part(tensor: Tensor, rank: int) -> Tensor | None:
    """Returns what this rank measures of a parameter or gradient, so that all parts make the whole.

    Of a tensor that every rank has a copy of, rank 0 measures it; of a sharded one, each rank measures its shard.

    Args:
        tensor: A plain tensor, or a DTensor, which is never gathered: that would be a collective.
        rank: Global rank.

    Returns:
        The tensor, its local shard, or None: nothing.
    """
    if not hasattr(tensor, "placements"):
        return tensor if rank == 0 else None
    return _own_shard(tensor)  # type: ignore[arg-type]


def _own_shard(tensor: "DTensor") -> Tensor | None:
    coordinate = tensor.device_mesh.get_coordinate() or []
    if any(
        placement.is_replicate() and at
        for placement, at in zip(tensor.placements, coordinate, strict=True)
    ):
        return None
    if any(placement.is_partial() for placement in tensor.placements):
        raise NotImplementedError(
            f"a DTensor that is yet to be summed over ranks: {tensor.placements}"
        )
    return tensor.to_local()


def own_values(tensor: Tensor) -> Tensor:
    """Returns the part of a parameter or gradient that this rank has: all of it but under FSDP2.

    To compute with the whole of a DTensor is a collective, in which other ranks may not take part.
    """
    if type(tensor) is not Tensor and hasattr(tensor, "to_local"):
        local: Any = tensor
        return local.to_local()
    return tensor


def gather(value: Any, ranks: int) -> list[Any]:
    """Returns the values of all ranks, in their order.

    Collective: every rank must call this on every due step, even after a failure, or the others hang.

    Args:
        value: Small, picklable, on the CPU.
        ranks: Number of ranks.
    """
    values: list[Any] = [value] * ranks
    if ranks > 1:
        dist.all_gather_object(values, value)
    return values
