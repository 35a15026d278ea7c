"""What is seen at one place in the course of one step: of every call of a layer and every micro-batch."""

from functools import reduce
from operator import add

import torch
from torch import Tensor

from ._histogram import AROUND_ZERO, Histogram, count_bins
from ._statistics import Moments, MomentSums, sum_moments


class MomentTally:
    """Moments of all that is added."""

    def __init__(self) -> None:
        self.sums: list[MomentSums] = []
        self.left_out = 0
        """Zeros that a sparse tensor does not store."""

    def add(self, values: Tensor) -> None:
        """Measures a tensor of any floating point type, strided or sparse."""
        held = values.detach().coalesce().values() if values.is_sparse else values.detach()
        self.left_out += values.numel() - held.numel()
        self.measure(held)

    def measure(self, held: Tensor) -> None:
        self.sums.append(sum_moments(held))

    def tensors(self) -> list[Tensor]:
        return [tensor for sums in self.sums for tensor in (sums.sums, sums.nonfinite)]

    def value(self, tensors: list[Tensor]) -> Moments:
        pairs = zip(self.sums, tensors[::2], tensors[1::2], strict=True)
        found = [MomentSums(on_device.numel, sums, nonfinite).value() for on_device, sums, nonfinite in pairs]
        zeros = [Moments(self.left_out, low=0.0, high=0.0)] if self.left_out else []
        return reduce(add, found + zeros, Moments())


class HistogramTally(MomentTally):
    """Moments of all that is added, and how it is spread."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[Tensor] = []
        """Those of the bins, and of what is not zero: one of each, whatever the number of calls."""

    def measure(self, held: Tensor) -> None:
        super().measure(held)
        counted = [count_bins(held), torch.count_nonzero(held)]
        self.counts = list(map(add, self.counts, counted)) if self.counts else counted

    def tensors(self) -> list[Tensor]:
        return super().tensors() + self.counts

    def value(self, tensors: list[Tensor]) -> Histogram:  # type: ignore[override]  says more
        moments = super().value(tensors[:-2])
        counts, nonzero = tensors[-2:]
        counts[AROUND_ZERO] += self.left_out
        return Histogram.from_counts(moments, counts, zeros=moments.count + moments.nonfinite - int(nonzero))
