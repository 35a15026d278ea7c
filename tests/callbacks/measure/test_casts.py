"""Tests of the counts of casts: equal to casting, to the last count, for every type, on the CPU and as on a device."""

import contextlib
import math
from typing import Any

import pytest
import torch
from casting import DTYPES, counts_by_casting
from hypothesis import given, settings
from torch import Tensor
from values import special_tensors, tensor_lists

from callbacks import Histogram
from callbacks.measure.accumulate import Accumulator
from callbacks.measure.casts import Casts
from callbacks.measure.formats import FORMATS, limits_of
from callbacks.measure.host import SMALL
from callbacks.measure.pieces import PIECE
from callbacks.measure.placement import simulated_device
from callbacks.measure.statistic import CastsOf

PLACES = {"cpu": contextlib.nullcontext, "device": simulated_device}
BOTH = pytest.mark.parametrize("place", PLACES)
SOURCES = pytest.mark.parametrize("source", [torch.float32, torch.float64])
EACH = pytest.mark.parametrize("name", FORMATS)


def measured(place: str, tensors: list[Tensor]) -> list[Casts]:
    """Returns the casts of each tensor, all measured by one accumulator."""
    with PLACES[place]():
        accumulator = Accumulator[int]()
        accumulator.add_all(
            (key, CastsOf(), values) for key, values in enumerate(tensors)
        )
        results = accumulator.results()
    return [results[key] for key in range(len(tensors))]


def expect_casts(casts: Casts, values: Tensor) -> None:
    """Checks the counts of all formats, and the histogram."""
    for name in FORMATS:
        assert casts.to(name) == counts_by_casting(values, name), name
    histogram = Histogram.of(values)
    assert casts.histogram.bins.tolist() == histogram.bins.tolist()
    assert casts.histogram.counts.tolist() == histogram.counts.tolist()
    assert casts.histogram.zeros == histogram.zeros
    assert casts.moments.count == histogram.moments.count
    assert casts.nonfinite == histogram.nonfinite


def with_neighbours(values: Tensor) -> Tensor:
    """Returns values, those just below and above, and all with the other sign."""
    up, down = torch.tensor(math.inf), torch.tensor(-math.inf)
    near = torch.cat(
        [values, values.nextafter(up.to(values)), values.nextafter(down.to(values))]
    )
    return torch.cat([near, -near])


def boundaries(name: str, source: torch.dtype) -> Tensor:
    """Returns all numbers of a format, the middle of each two, and one octave beyond the last."""
    positive = torch.arange(
        2 ** (torch.finfo(DTYPES[name]).bits - 1), dtype=torch.int32
    )
    size = {8: torch.uint8, 16: torch.int16}[torch.finfo(DTYPES[name]).bits]
    numbers = positive.to(size).view(DTYPES[name]).double()
    numbers = numbers[numbers.isfinite()]
    middles = (numbers[1:] + numbers[:-1]) / 2
    beyond = numbers.max() * torch.linspace(1, 2, 97, dtype=torch.float64)
    return torch.cat([numbers, middles, beyond]).to(source)


class TestEqualToCasting:
    @BOTH
    @SOURCES
    @EACH
    def test_at_every_boundary(
        self, name: str, source: torch.dtype, place: str
    ) -> None:
        values = with_neighbours(boundaries(name, source))
        expect_casts(measured(place, [values])[0], values)

    @BOTH
    @SOURCES
    def test_at_the_limits_and_nothing_else(
        self, source: torch.dtype, place: str
    ) -> None:
        """Each in a tensor of its own, so that one that is counted too much hides none that is missing."""
        integer = torch.int32 if source == torch.float32 else torch.int64
        limits = torch.from_numpy(limits_of(source).patterns).to(integer).view(source)
        tensors = list(with_neighbours(limits).unbind())
        for casts, values in zip(measured(place, tensors), tensors, strict=True):
            expect_casts(casts, values)

    @BOTH
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_of_all_numbers_of_16_bits(self, dtype: torch.dtype, place: str) -> None:
        values = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
        assert len(values.view(torch.int16).unique()) == 65536
        expect_casts(measured(place, [values])[0], values)

    @BOTH
    @pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
    def test_of_all_numbers_of_8_bits(self, dtype: torch.dtype, place: str) -> None:
        values = torch.arange(256, dtype=torch.uint8).view(dtype)
        expect_casts(measured(place, [values.float()])[0], values.float())
        expect_casts(measured(place, [values])[0], values.float())

    @BOTH
    @SOURCES
    @pytest.mark.parametrize("count", [1, 999, SMALL + 1, 3 * PIECE + 5])
    def test_of_random_bits(self, count: int, source: torch.dtype, place: str) -> None:
        """Of all exponents, with NaN among them; of float64 up to 1e300, so that sums are finite."""
        generator = torch.Generator().manual_seed(count)
        bits = torch.randint(0, 256, (count, 8), generator=generator).to(torch.uint8)
        values = bits.view(source)[:, 0]
        values = values[~(values.isfinite() & (values.double().abs() > 1e300))]
        expect_casts(measured(place, [values])[0], values)

    @BOTH
    @SOURCES
    @pytest.mark.parametrize("scale", [1e-40, 3e-8, 6e-5, 2e-3, 0.3, 40.0, 2e4, 1e38])
    def test_of_random_values(
        self, scale: float, source: torch.dtype, place: str
    ) -> None:
        generator = torch.Generator().manual_seed(1)
        values = torch.randn(5000, generator=generator, dtype=torch.float64)
        values = (values * scale).to(source)
        expect_casts(measured(place, [values])[0], values)

    @BOTH
    @settings(deadline=None, max_examples=50)
    @given(tensors=tensor_lists())
    def test_of_any_tensors(self, place: str, tensors: list[Tensor]) -> None:
        for casts, values in zip(measured(place, tensors), tensors, strict=True):
            expect_casts(casts, values)

    @BOTH
    def test_of_special_tensors(self, place: str) -> None:
        tensors = list(special_tensors().values())
        for casts, values in zip(measured(place, tensors), tensors, strict=True):
            expect_casts(
                casts, values.float() if values.dtype in DTYPES.values() else values
            )

    @BOTH
    def test_where_subnormal_numbers_are_flushed(self, place: str) -> None:
        values = torch.tensor([1e-40, -2e-41, 3e-39, 0.0, 1e-45])
        expected = counts_by_casting(values, "bf16")
        torch.set_flush_denormal(True)
        try:
            (casts,) = measured(place, [values])
        finally:
            torch.set_flush_denormal(False)
        counts = casts.to("bf16")
        assert (counts.zero, counts.subnormal) == (expected.zero, expected.subnormal)


class TestPooling:
    @BOTH
    def test_calls_add_up(self, place: str) -> None:
        parts = [torch.randn(50) * 1e-3, torch.randn(40_000) * 300, torch.zeros(7)]
        with PLACES[place]():
            accumulator = Accumulator[str]()
            for values in parts:
                accumulator.add("a", CastsOf(), values)
            casts = accumulator.results()["a"]
        expect_casts(casts, torch.cat(parts))

    def test_zeros_of_a_sparse_tensor(self) -> None:
        dense = torch.zeros(6, 5)
        dense[1, 2], dense[3, 0] = 1e-4, 3e5
        accumulator = Accumulator[str]()
        accumulator.add("a", CastsOf(), dense.to_sparse())
        expect_casts(accumulator.results()["a"], dense)

    @BOTH
    def test_changes(self, place: str) -> None:
        after, before = torch.randn(2, 300_000) * 1e-3
        with PLACES[place]():
            accumulator = Accumulator[str]()
            accumulator.add_changes([("a", CastsOf(), after, before)])
            casts = accumulator.results()["a"]
        expect_casts(casts, after - before)


@EACH
def test_formats_are_those_of_pytorch(name: str) -> None:
    info, each = torch.finfo(DTYPES[name]), FORMATS[name]
    assert each.largest == info.max
    assert 2.0**each.lowest == info.smallest_normal
    assert 2.0**-each.mantissa == info.eps


def test_without_finite_values() -> None:
    counts: Any = Casts.of(torch.tensor([math.nan, math.inf])).to("e5m2")
    assert counts == (0, 0, 0, 0)
