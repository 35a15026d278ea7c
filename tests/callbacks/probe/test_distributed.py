"""Tests of the part of a tensor that each rank measures, and of the gather over ranks."""

import pytest
import torch
from torch import Tensor

from callbacks.probe.distributed import gather, own_part


def test_rank_0_measures_what_all_ranks_have() -> None:
    values = torch.ones(3)
    assert own_part(values, 0) is values
    assert own_part(values, 1) is None


class Placement:
    def __init__(self, kind: str) -> None:
        self.kind = kind

    def is_replicate(self) -> bool:
        return self.kind == "replicate"

    def is_partial(self) -> bool:
        return self.kind == "partial"


class Mesh:
    def __init__(self, *coordinate: int) -> None:
        self.coordinate = coordinate

    def get_coordinate(self) -> list[int]:
        return list(self.coordinate)


class Sharded:
    """Has what `own_part` reads of a DTensor, which needs processes."""

    def __init__(self, placements: list[str], *coordinate: int) -> None:
        self.placements = [Placement(kind) for kind in placements]
        self.device_mesh = Mesh(*coordinate)

    def to_local(self) -> Tensor:
        return torch.zeros(2)


def part_of(placements: list[str], *coordinate: int) -> Tensor | None:
    return own_part(Sharded(placements, *coordinate), rank=coordinate[-1])  # type: ignore[arg-type]


def test_each_rank_measures_its_shard() -> None:
    for rank in range(3):
        assert part_of(["shard"], rank) is not None


def test_one_rank_measures_what_is_replicated_on_a_mesh() -> None:
    assert part_of(["replicate"], 0) is not None
    assert part_of(["replicate"], 1) is None
    assert [
        part_of(["replicate", "shard"], row, column) is not None
        for row in range(2)
        for column in range(2)
    ] == [
        *(True, True, False, False),
    ]


def test_a_sum_over_ranks_that_is_missing_raises() -> None:
    with pytest.raises(NotImplementedError, match="yet to be summed"):
        part_of(["partial"], 0)


def test_one_rank_gathers_its_own_value() -> None:
    assert gather("value", 1) == ["value"]
