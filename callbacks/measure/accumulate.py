"""Accumulator: everything that is measured in one step, on any device, in few passes and one copy to the CPU."""

from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from torch import Tensor

from .casts import Casts
from .device import CHUNK, ChunkSums, chunks_of, pool_chunk, reduce_chunk
from .device_saturation import DeviceSaturation, count_on_device
from .flat_regions import FlatRegion
from .host import SMALL, measure_together
from .pieces import plain, widened
from .placement import copy_to_host, copy_together, is_readable
from .saturation import count_saturated, units_last
from .statistic import Distribution, SaturationOf, result_as

Key = TypeVar("Key", bound=Hashable)

WAITING = 2**20
"""Values of small tensors that wait, as copies, to be measured with others."""

DIFFERENCES = 2**18
"""Values of differences that are there at a time on the CPU."""


class Item(NamedTuple):
    """A tensor to be measured."""

    key: Any
    values: Tensor
    """Strided, at least one value."""
    statistic: Distribution
    on_host: bool
    """Whether the values can be read without waiting for a device."""


class Pair(NamedTuple):
    """Flat pieces of a tensor after and before a change."""

    key: Any
    statistic: Distribution
    after: Tensor
    before: Tensor


@dataclass
class Accumulator(Generic[Key]):
    """Measures tensors of one step by key; results of one key add up.

    A large tensor is reduced when it is added, on its device; small ones wait to be reduced together. `results` copies
    what is on devices to the CPU at once.

    Attributes:
        skipped: Keys that are not measured.
        failures: Exceptions of keys that could not be measured; they have no result.
    """

    skipped: Container[Key] = ()
    failures: dict[Key, Exception] = field(default_factory=dict)
    _results: dict[Key, Any] = field(default_factory=dict)
    _waiting: list[Item] = field(default_factory=list)
    _waiting_values: int = 0
    _chunks: list[tuple[list[Key], ChunkSums]] = field(default_factory=list)
    _saturations: dict[tuple[Key, int], DeviceSaturation] = field(default_factory=dict)

    def add(self, key: Key, statistic: Distribution, values: Tensor) -> None:
        """Measures a tensor that may be overwritten later."""
        self.add_all([(key, statistic, values)])

    def add_all(
        self,
        items: Iterable[tuple[Key, Distribution, Tensor]],
        stable: bool = False,
    ) -> None:
        """Measures tensors. Small ones wait, as copies, so that all of a step are measured together.

        Args:
            items: Key, statistic and tensor.
            stable: Whether the tensors are not overwritten before `results`, so that they need no copies.
        """
        prepared: list[Item] = []
        for key, statistic, values in items:
            item = self.attempt(
                [key],
                partial(self._item, key, values, statistic),
            )
            if item is not None:
                prepared.append(item)
        small = [item for item in prepared if item.values.numel() <= SMALL]
        for item in small if stable else self._copies(small):
            self._waiting.append(item)
            self._waiting_values += item.values.numel()
        self._measure([item for item in prepared if item.values.numel() > SMALL])
        if self._waiting_values > WAITING:
            self._measure_waiting()

    def add_changes(
        self, items: Iterable[tuple[Key, Distribution, Tensor, Tensor]]
    ) -> None:
        """Measures differences, each taken in float32 or float64.

        Args:
            items: Key, statistic, tensor after the change and tensor before it.
        """
        pairs: list[Pair] = []
        for key, statistic, after, before in items:
            cut = partial(_flat_pieces, key, statistic, after, before)
            pairs += self.attempt([key], cut) or []
        for group in _groups_of(pairs):
            changes = []
            for pair in group:
                change = self.attempt([pair.key], partial(_difference, pair))
                if change is not None:
                    changes.append((pair.key, pair.statistic, change))
            self.add_all(changes, stable=True)

    def add_saturation(
        self, key: Key, statistic: SaturationOf, region: FlatRegion, values: Tensor
    ) -> None:
        """Counts the saturated values of a layer's output, or of its input where that decides."""
        if not values.numel() or key in self.skipped:
            return
        check_values(values)
        values = units_last(values, statistic.unit_dim)
        if is_readable(values):
            self._pool(key, count_saturated(values, region, statistic.keep_map))
        else:
            place = key, values.shape[-1]
            counts = count_on_device(
                values, region, statistic.keep_map and not self._has_map(key)
            )
            if place in self._saturations:
                self._saturations[place].add(counts)
            else:
                self._saturations[place] = counts

    def attempt(self, keys: Iterable[Key], measure: Callable[[], Any]) -> Any:
        """Calls a function that measures; if it raises, these keys have no result.

        Returns:
            The function's result; None if it raised.
        """
        try:
            return measure()
        except Exception as error:
            for key in keys:
                self.fail(key, error)
            return None

    def fail(self, key: Key, error: Exception) -> None:
        """Drops what was measured of a key, and what is to come."""
        self.failures.setdefault(key, error)
        self._results.pop(key, None)

    def results(self) -> dict[Key, Any]:
        """Copies what is on devices to the CPU, in one transfer a device, and returns all results by key."""
        self._measure_waiting()
        pending: list[
            tuple[Any, Callable[[Sequence[Tensor]], Iterable[tuple[Key, Any]]]]
        ] = [
            *((chunk, _pool_of(keys, chunk)) for keys, chunk in self._chunks),
            *(
                (counts, _value_of(key, counts))
                for (key, _), counts in self._saturations.items()
            ),
        ]
        sources = [source.tensors() for source, _ in pending]
        copies = iter(
            copy_to_host([tensor for tensors in sources for tensor in tensors])
        )
        for tensors, (_, read) in zip(sources, pending, strict=True):
            for key, result in read([next(copies) for _ in tensors]):
                self._pool(key, result)
        self._chunks, self._saturations = [], {}
        return {
            key: result
            for key, result in self._results.items()
            if key not in self.failures
        }

    def _item(self, key: Key, values: Tensor, statistic: Distribution) -> Item | None:
        """Prepares a tensor; pools the zeros that a sparse one does not store. Returns None if nothing is left."""
        if key in self.skipped:
            return None
        check_values(values)
        if values.is_sparse:
            stored = values.detach().coalesce().values()
            if missing := values.numel() - stored.numel():
                self._pool(key, result_as(statistic, Casts.of_zeros(missing)))
            values = stored
        if not values.numel():
            return None
        return Item(key, plain(values), statistic, is_readable(values))

    def _copies(self, items: Sequence[Item]) -> list[Item]:
        """Copies tensors together; if that raises, each alone, so that only those that raise have no result."""
        try:
            copies: list[Tensor | None] = [
                *copy_together([item.values for item in items])
            ]
        except Exception:
            copies = [self.attempt([item.key], item.values.clone) for item in items]
        pairs = zip(items, copies, strict=True)
        return [item._replace(values=copy) for item, copy in pairs if copy is not None]

    def _measure_waiting(self) -> None:
        items, self._waiting, self._waiting_values = self._waiting, [], 0
        self._measure(items)

    def _measure(self, items: Sequence[Item]) -> None:
        for kind in dict.fromkeys((item.statistic, item.on_host) for item in items):
            measure = self._measure_on_host if kind[1] else self._reduce_on_device
            group = [item for item in items if (item.statistic, item.on_host) == kind]
            self._attempt(measure, group)

    def _attempt(
        self, measure: Callable[[Sequence[Item]], None], group: Sequence[Item]
    ) -> None:
        """Measures a group; if that raises, each item alone, so that only those that raise have no result."""
        try:
            measure(group)
        except Exception as error:
            if len(group) == 1:
                self.fail(group[0].key, error)
                return
            for item in group:
                self._attempt(measure, [item])

    def _measure_on_host(self, group: Sequence[Item]) -> None:
        results = measure_together([item.values for item in group], group[0].statistic)
        for item, result in zip(group, results, strict=True):
            self._pool(item.key, result)

    def _reduce_on_device(self, group: Sequence[Item]) -> None:
        reduced: list[tuple[list[Key], ChunkSums]] = []
        for device in {item.values.device for item in group}:
            items = [item for item in group if item.values.device == device]
            keys = [item.key for item in items]
            chunks = chunks_of([item.values for item in items])
            reduced += [
                (keys, reduce_chunk(chunk, group[0].statistic)) for chunk in chunks
            ]
        self._chunks += reduced

    def _pool(self, key: Key, result: Any) -> None:
        self._results[key] = (
            self._results[key] + result if key in self._results else result
        )

    def _has_map(self, key: Key) -> bool:
        return any(place[0] == key for place in self._saturations)


def _pool_of(
    keys: Sequence[Key], chunk: ChunkSums
) -> Callable[[Sequence[Tensor]], Iterable[tuple[Key, Any]]]:
    return lambda copies: (
        (keys[index], result) for index, result in pool_chunk(chunk, copies)
    )


def _value_of(
    key: Key, counts: DeviceSaturation
) -> Callable[[Sequence[Tensor]], Iterable[tuple[Key, Any]]]:
    return lambda copies: [(key, counts.value(copies))]


def _flat_pieces(
    key: Any, statistic: Distribution, after: Tensor, before: Tensor
) -> list[Pair]:
    """Cuts a large tensor into flat pieces, so that a difference needs little memory."""
    limit = DIFFERENCES if is_readable(after) else CHUNK
    pieces = zip(
        plain(after).reshape(-1).split(limit),
        plain(before).reshape(-1).split(limit),
        strict=True,
    )
    return [Pair(key, statistic, *piece) for piece in pieces]


def _difference(pair: Pair) -> Tensor:
    return widened(pair.after) - widened(pair.before)


def _groups_of(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Groups pairs whose differences together are no more values than one device chunk, or one piece on the CPU."""
    group: list[Pair] = []
    total = 0
    for pair in pairs:
        limit = DIFFERENCES if is_readable(pair.after) else CHUNK
        if group and total + pair.after.numel() > limit:
            yield group
            group, total = [], 0
        group.append(pair)
        total += pair.after.numel()
    if group:
        yield group


def check_values(values: Tensor) -> None:
    """Refuses a tensor that has no values to measure.

    Raises:
        TypeError: Of a tensor on the meta device.
    """
    if values.is_meta:
        raise TypeError("a tensor on the meta device has no values")
