"""Makes one measurement of those that the processes of a run took, each of its own part of the batch."""

from collections.abc import Mapping
from typing import Any

import torch.distributed as dist


def pool_over_ranks(values: Mapping[str, Any], copies: tuple[str, ...] = ()) -> dict[str, Any]:
    """Adds up measurements over the processes; every process has to call this, with whatever it has.

    Args:
        values: By tag; small, and on the host.
        copies: Beginnings of the tags whose values are the same everywhere, so that one of them will do.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return dict(values)
    everywhere: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everywhere, dict(values))
    pooled: dict[str, Any] = {}
    for here in everywhere:
        for tag, value in here.items():
            if tag not in pooled:
                pooled[tag] = value
            elif not tag.startswith(copies):
                pooled[tag] = pooled[tag] + value
    return pooled
