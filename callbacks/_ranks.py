"""Makes one measurement of those that the processes of a run took, each of its own part of the batch."""

from collections.abc import Mapping
from typing import Any

import torch.distributed as dist


def pool_over_ranks(
    values: Mapping[str, Any] | None, copies: tuple[str, ...] = (), processes: int = 1
) -> dict[str, Any] | None:
    """Adds up measurements over the processes; each of them has to call this, with whatever it has.

    Args:
        values: By tag; small, and on the host; None where measuring has failed.
        copies: Beginnings of the tags whose values are the same everywhere, so that one of them will do.
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
            if tag not in pooled:
                pooled[tag] = value
            elif not tag.startswith(copies):
                pooled[tag] = pooled[tag] + value
    return pooled
