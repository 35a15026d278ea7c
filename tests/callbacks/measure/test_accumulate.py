"""Tests of the accumulator: several calls add up to one result, on the CPU and as on an accelerator."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from numpy_statistics import expect_histogram, expect_moments
from torch import Tensor
from values import any_tensor, special_tensors, tensor_lists

from callbacks import Histogram
from callbacks.measure import accumulate, placement
from callbacks.measure.accumulate import Accumulator
from callbacks.measure.bins import AROUND_ZERO
from callbacks.measure.flat_regions import FlatRegion
from callbacks.measure.moments import Moments
from callbacks.measure.pieces import PIECE, widened
from callbacks.measure.placement import simulated_device
from callbacks.measure.statistic import (
    CastsOf,
    HistogramOf,
    MomentsOf,
    SaturationOf,
    result_as,
)

PLACES = {"cpu": contextlib.nullcontext, "device": simulated_device}
BOTH = pytest.mark.parametrize("place", PLACES)
STATISTICS = pytest.mark.parametrize(
    "statistic", [MomentsOf(), HistogramOf(), CastsOf()], ids=repr
)
SATURATED = FlatRegion(lambda h: h > 0.99)


def measure(
    place: str, add: Callable[[Accumulator[str]], Any], **options: Any
) -> dict[str, Any]:
    """Returns the results of an accumulator that a function has filled."""
    with PLACES[place]():
        accumulator = Accumulator[str](**options)
        add(accumulator)
        return accumulator.results()


def moments_of(result: Any) -> Moments:
    return result_as(MomentsOf(), result)


@BOTH
@settings(deadline=None, max_examples=50)
@given(calls=tensor_lists(most=4))
def test_calls_are_pooled(place: str, calls: list[Tensor]) -> None:
    def add(accumulator: Accumulator[str]) -> None:
        for values in calls:
            accumulator.add("a", HistogramOf(), values)
            accumulator.add("b", MomentsOf(), values)

    results = measure(place, add)
    whole = torch.cat([values.double().flatten() for values in calls])
    expect_histogram(results["a"], whole, extremes=1e-15)
    expect_moments(results["b"], whole, extremes=1e-15)


@BOTH
@STATISTICS
def test_tensors_added_together(place: str, statistic: Any) -> None:
    tensors = special_tensors()
    results = measure(
        place,
        lambda accumulator: accumulator.add_all(
            (name, statistic, values) for name, values in tensors.items()
        ),
    )
    assert results.keys() == tensors.keys()
    for name, values in tensors.items():
        expect_moments(moments_of(results[name]), values, extremes=1e-15)


@BOTH
@pytest.mark.parametrize("size", [10, 2 * 2**15])
def test_a_tensor_may_be_overwritten_once_it_was_added(place: str, size: int) -> None:
    def add(accumulator: Accumulator[str]) -> None:
        values = torch.ones(size)
        accumulator.add("a", HistogramOf(), values)
        values.fill_(5.0)

    assert measure(place, add)["a"].moments.mean == 1.0


@BOTH
def test_copies_that_wait_are_bounded(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accumulate, "WAITING", 100)
    with PLACES[place]():
        accumulator = Accumulator[str]()
        for _ in range(50):
            accumulator.add("a", MomentsOf(), torch.ones(30))
            assert sum(item.values.numel() for item in accumulator._waiting) <= 100
        assert accumulator.results()["a"].count == 1500


@BOTH
def test_empty_tensors_have_no_result(place: str) -> None:
    def add(accumulator: Accumulator[str]) -> None:
        accumulator.add("a", HistogramOf(), torch.empty(0))
        accumulator.add_saturation("b", SaturationOf(), SATURATED, torch.empty(0, 3))

    assert measure(place, add) == {}


@BOTH
@STATISTICS
def test_a_sparse_gradient_is_that_of_the_whole_table(
    place: str, statistic: Any
) -> None:
    table = torch.nn.Embedding(50, 4, sparse=True)
    table(
        torch.tensor([3, 7, 3])
    ).square().sum().backward()  # row 3 twice: not coalesced
    gradient = table.weight.grad
    assert gradient is not None
    assert gradient.is_sparse
    result = measure(
        place, lambda accumulator: accumulator.add("a", statistic, gradient)
    )["a"]
    expect_moments(moments_of(result), gradient.to_dense(), extremes=1e-15)
    assert moments_of(result).count == 200
    if isinstance(result, Histogram):
        assert result.zeros == 192 == result.counts[result.bins == AROUND_ZERO].item()


@BOTH
@STATISTICS
def test_a_sparse_gradient_without_values(place: str, statistic: Any) -> None:
    nowhere = torch.empty(1, 0, dtype=torch.long)
    gradient = torch.sparse_coo_tensor(
        nowhere, torch.empty(0, 4), (5, 4), check_invariants=False
    )
    result = measure(
        place, lambda accumulator: accumulator.add("a", statistic, gradient)
    )["a"]
    expect_moments(moments_of(result), torch.zeros(5, 4))


class TestChanges:
    @BOTH
    @settings(deadline=None, max_examples=50)
    @given(after=any_tensor().filter(lambda tensor: tensor.numel() > 0))
    def test_is_the_difference_in_float32_or_float64(
        self, place: str, after: Tensor
    ) -> None:
        before = after * 0.9
        moments = measure(
            place,
            lambda accumulator: accumulator.add_changes(
                [("a", MomentsOf(), after, before)]
            ),
        )["a"]
        expect_moments(moments, widened(after) - widened(before), extremes=1e-15)

    @BOTH
    def test_longer_than_a_piece(
        self, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(accumulate, "DIFFERENCES", 1000)
        monkeypatch.setattr(accumulate, "CHUNK", 2048)
        long = torch.randn(2, 3 * PIECE + 7).bfloat16()
        pairs = [
            ("long", MomentsOf(), *long),
            ("short", MomentsOf(), torch.ones(3), torch.zeros(3)),
            ("double", MomentsOf(), *torch.randn(2, 9).double()),
        ]
        results = measure(place, lambda accumulator: accumulator.add_changes(pairs))
        for key, _, after, before in pairs:
            expect_moments(
                results[key], after.double() - before.double(), extremes=1e-15
            )

    @BOTH
    def test_of_shapes_and_strides(self, place: str) -> None:
        after, before = torch.randn(6, 5).t(), torch.randn(5, 6)
        moments = measure(
            place,
            lambda accumulator: accumulator.add_changes(
                [("a", MomentsOf(), after, before)]
            ),
        )["a"]
        expect_moments(moments, after - before, extremes=1e-15)


class TestSaturation:
    @BOTH
    def test_calls_are_pooled(self, place: str) -> None:
        def add(accumulator: Accumulator[str]) -> None:
            for h in (
                torch.tensor([[1.0, 1.0, 0.0]]),
                torch.tensor([[1.0, 0.0, 1.0]]),
                torch.ones(2, 4),
            ):
                accumulator.add_saturation(
                    "a", SaturationOf(keep_map=True), SATURATED, h
                )

        result = measure(place, add)["a"]
        assert (result.saturated, result.count) == (12, 14)
        assert {width: mask.tolist() for width, mask in result.dead.items()} == {
            3: [True, False, False],
            4: [True] * 4,
        }
        assert result.map.tolist() == [[255, 255, 0]]

    @BOTH
    def test_one_map_is_made_of_all_calls(self, place: str) -> None:
        made: list[int] = []

        def test(h: Tensor) -> Tensor:
            made.append(len(h))
            return h > 0.99

        def add(accumulator: Accumulator[str]) -> None:
            for _ in range(3):
                accumulator.add_saturation(
                    "a", SaturationOf(keep_map=True), FlatRegion(test), torch.ones(2, 3)
                )

        assert measure(place, add)["a"].map.shape == (2, 3)
        assert len(made) == 4 if place == "device" else len(made) <= 6


class TestFailures:
    class Raises(Tensor):
        """Tensor whose values cannot be read."""

        @classmethod
        def __torch_function__(
            cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if getattr(func, "__name__", "") in ("reshape", "coalesce", "clone"):
                raise ZeroDivisionError("out of luck")
            return super().__torch_function__(func, types, args, kwargs or {})

    @BOTH
    def test_a_tensor_that_raises_has_no_result_and_the_others_have(
        self, place: str
    ) -> None:
        broken = torch.ones(3).as_subclass(self.Raises)
        items = [
            ("a", HistogramOf(), torch.ones(2)),
            ("b", HistogramOf(), broken),
            ("c", MomentsOf(), torch.ones(5)),
        ]
        with PLACES[place]():
            accumulator = Accumulator[str]()
            accumulator.add_all(items)
            results = accumulator.results()
        assert results.keys() == {"a", "c"}
        assert results["a"].moments.count == 2
        assert {key: str(error) for key, error in accumulator.failures.items()} == {
            "b": "out of luck"
        }

    @BOTH
    def test_a_tensor_on_the_meta_device_and_the_others(self, place: str) -> None:
        items = [
            ("a", MomentsOf(), torch.ones(2)),
            ("b", MomentsOf(), torch.ones(2, device="meta")),
        ]
        with PLACES[place]():
            accumulator = Accumulator[str]()
            accumulator.add_all(items)
            results = accumulator.results()
        assert results.keys() == {"a"}
        assert list(accumulator.failures) == ["b"]

    @BOTH
    def test_a_change_that_raises_and_the_others(self, place: str) -> None:
        broken = torch.ones(3).as_subclass(self.Raises)
        with PLACES[place]():
            accumulator = Accumulator[str]()
            accumulator.add_changes(
                [
                    ("a", MomentsOf(), torch.ones(2), torch.zeros(2)),
                    ("b", MomentsOf(), broken, torch.zeros(3)),
                ]
            )
            results = accumulator.results()
        assert results.keys() == {"a"}
        assert list(accumulator.failures) == ["b"]

    def test_attempt_drops_what_was_measured_before(self) -> None:
        accumulator = Accumulator[str]()
        accumulator.add("a", MomentsOf(), torch.ones(100_000))
        accumulator.add("b", MomentsOf(), torch.ones(2))
        assert accumulator.attempt(["a"], lambda: 1 / 0) is None
        assert accumulator.attempt([], lambda: 7) == 7
        assert accumulator.results().keys() == {"b"}

    def test_skipped_keys_are_not_measured(self) -> None:
        def add(accumulator: Accumulator[str]) -> None:
            accumulator.add("a", MomentsOf(), torch.ones(2))
            accumulator.add_saturation("a", SaturationOf(), SATURATED, torch.ones(2, 2))
            accumulator.add("b", MomentsOf(), torch.ones(2))

        assert measure("cpu", add, skipped={"a"}).keys() == {"b"}


class TestTransfer:
    def test_one_for_everything_that_was_added(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: list[int] = []
        monkeypatch.setattr(
            placement, "transfer", lambda packed: sizes.append(packed.numel()) or packed
        )

        def add(accumulator: Accumulator[str]) -> None:
            for key in "abc":
                accumulator.add(key, HistogramOf(), torch.randn(5))
                accumulator.add(key, HistogramOf(), torch.randn(70_000))
            accumulator.add_changes([("d", MomentsOf(), torch.ones(2), torch.zeros(2))])
            accumulator.add_saturation("e", SaturationOf(), SATURATED, torch.ones(2, 2))

        results = measure("device", add)
        assert len(sizes) == 1
        assert [results[key].moments.count for key in "abc"] == [70_005] * 3
        assert (results["d"].count, results["e"].count) == (2, 4)

    def test_none_without_tensors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(placement, "transfer", None)
        assert measure("device", lambda accumulator: None) == {}
