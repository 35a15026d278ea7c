"""Makes one measurement of those that the processes of a run took, each of its own part."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def own_part(tensor: Tensor, rank: int) -> Tensor | None:
    """Returns what this process has to measure of a parameter or its gradient, so that all parts make the whole.

    Of a tensor that every process has a copy of, the first measures it; of one that is split, each measures its shard.

    Args:
        tensor: A plain tensor, or a DTensor, which is never gathered: that would need every process to take part.
        rank: The process's number.

    Returns:
        The tensor, its shard, or None: nothing.
    """
    if not hasattr(tensor, "placements"):
        return tensor if rank == 0 else None
    return _own_shard(tensor)  # type: ignore[arg-type]


def _own_shard(tensor: "DTensor") -> Tensor | None:
    place = tensor.device_mesh.get_coordinate() or []
    if any(placement.is_replicate() and at for placement, at in zip(tensor.placements, place, strict=True)):
        return None
    if any(placement.is_partial() for placement in tensor.placements):
        raise NotImplementedError(f"a tensor that is yet to be summed up over processes: {tensor.placements}")
    return tensor.to_local()


def pool_over_ranks(values: Mapping[str, Any] | None, processes: int = 1) -> dict[str, Any] | None:
    """Adds up measurements over the processes; each of them has to call this, with whatever it has.

    Args:
        values: By tag; small, and on the host; None where measuring has failed.
        processes: How many take part.

    Returns:
        The same on every process; None if one of them has failed.
    """
    everywhere: list[Any] = [values]
    if processes > 1:
        everywhere *= processes
        dist.all_gather_object(everywhere, values)
    pooled: dict[str, Any] = {}
    for here in everywhere:
        if here is None:
            return None
        for tag, value in here.items():
            pooled[tag] = pooled[tag] + value if tag in pooled else value
    return pooled
