"""Counts of saturated values on an accelerator, which become a `Saturation` once they are on the CPU."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .pieces import widened
from .saturation import FlatRegion, Saturation, map_of


@dataclass
class DeviceSaturation:
    """Counts of saturated values of one key and width, still on their device."""

    numel: int
    counts: Tensor
    """`(2,)` saturated values, and values that are not finite."""
    dead: Tensor
    """`(units,)` mask of the units that are saturated on every example."""
    map: Tensor | None
    places: tuple[int, ...]
    off: str | None

    def tensors(self) -> list[Tensor]:
        """Tensors to be copied to the CPU."""
        return [self.counts, self.dead, *([] if self.map is None else [self.map])]

    def add(self, other: "DeviceSaturation") -> None:
        """Pools the examples of another call of the same width; the map stays."""
        self.numel += other.numel
        self.counts = self.counts + other.counts
        self.dead = self.dead & other.dead

    def value(self, copies: Sequence[Tensor]) -> Saturation:
        """Returns the result, given `tensors()` on the CPU."""
        saturated, nonfinite = copies[0].numpy().tolist()
        dead = {len(copies[1]): copies[1].numpy()}
        shades = None if self.map is None else copies[2].numpy()
        return Saturation(
            saturated,
            self.numel - nonfinite,
            nonfinite,
            dead,
            shades,
            self.places,
            self.off,
        )


def count_on_device(
    values: Tensor, region: FlatRegion, keep_map: bool
) -> DeviceSaturation:
    """Counts the saturated values of `(examples, ..., units)`; waits for no device."""
    invalid = (widened(values) - widened(values)) != 0
    mask = region.test(values) & ~invalid
    counts = torch.stack([mask.sum(), invalid.sum()])
    shades = map_of(values, region.test) if keep_map else None
    return DeviceSaturation(
        values.numel(),
        counts,
        mask.flatten(0, -2).all(0),
        shades,
        tuple(values.shape[1:-1]),
        region.off,
    )
