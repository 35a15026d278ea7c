"""What is seen at one place in the course of one step: of every call of a layer and every micro-batch."""

from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from ._bins import count_bins
from ._histogram import Histogram
from ._statistics import ChangePieces, Moments, MomentSums, bare, measure_moments, on_host, sum_moments, widened


class MomentTally:
    """Moments of all that is added."""

    def __init__(self) -> None:
        self.seen: Any = None
        """What has been measured in main memory."""
        self.sums: list[MomentSums] = []
        """What is still on its device."""
        self.left_out = 0
        """Zeros that a sparse tensor does not store."""

    def add(self, values: Tensor) -> None:
        """Measures a tensor of any floating point type, strided or sparse."""
        held = bare(values.detach().coalesce().values() if values.is_sparse else values)
        self.left_out += values.numel() - held.numel()
        if on_host(held):
            self.pool(self.measure(held))
        else:
            self.send(held)

    def add_change(self, after: Tensor, before: Tensor) -> None:
        """Measures the difference of two tensors, taken in float32 or float64."""
        if on_host(after):
            self.pool(measure_moments(ChangePieces(after, before)))
        else:
            self.send(widened(after) - widened(before))

    def pool(self, measured: Any) -> None:
        """Takes in what has been measured in main memory."""
        self.seen = measured if self.seen is None else self.seen + measured

    def measure(self, held: Tensor) -> Any:
        return Moments.of(held)

    def send(self, held: Tensor) -> None:
        """Has a device measure a tensor, and does not wait for it."""
        self.sums.append(sum_moments(held))

    def tensors(self) -> list[Tensor]:
        return [tensor for sums in self.sums for tensor in (sums.sums, sums.nonfinite)]

    def value(self, tensors: list[Tensor]) -> Any:
        """Returns the moments, given those tensors on the host; None if nothing was added."""
        parts = [self.seen, self.arrived(tensors) if tensors else None, self.zeros() if self.left_out else None]
        found = [part for part in parts if part is not None]
        return reduce(add, found) if found else None

    def arrived(self, tensors: list[Tensor]) -> Any:
        pairs = zip(self.sums, tensors[::2], tensors[1::2], strict=True)
        found = [MomentSums(on_device.numel, sums, nonfinite).value() for on_device, sums, nonfinite in pairs]
        return reduce(add, found)

    def zeros(self) -> Any:
        return Moments(self.left_out, low=0.0, high=0.0)


class HistogramTally(MomentTally):
    """Moments of all that is added, and how it is spread."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[Tensor] = []
        """Those of the bins, and of what is not zero: one of each, whatever the number of calls."""

    def measure(self, held: Tensor) -> Histogram:
        return Histogram.of(held)

    def send(self, held: Tensor) -> None:
        super().send(held)
        counted = [count_bins(held), torch.count_nonzero(widened(held))]
        self.counts = list(map(add, self.counts, counted)) if self.counts else counted

    def tensors(self) -> list[Tensor]:
        return super().tensors() + self.counts

    def arrived(self, tensors: list[Tensor]) -> Histogram:
        moments = super().arrived(tensors[:-2])
        counts, nonzero = tensors[-2:]
        return Histogram.from_counts(moments, counts.numpy(), moments.count + moments.nonfinite - int(nonzero))

    def zeros(self) -> Histogram:
        return Histogram.of_zeros(self.left_out)
