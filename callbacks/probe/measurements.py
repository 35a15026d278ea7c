"""Measurements: everything that was measured in one step, over all ranks, for all instruments."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from ..measure.flat_regions import NEVER
from ..measure.statistic import MomentsOf, SaturationOf, Statistic, covers, result_as
from .names import Origin
from .parameter_steps import ParameterStep
from .plan import Plan
from .request import OF_LAYERS, Key, Quantity, Request
from .selection import activation_layers, unwrapped
from .structure import Structure

BACKWARD = (Quantity.ACTIVATION_GRAD, Quantity.WEIGHT_GRAD, Quantity.STEP_GRAD)
"""Quantities whose causes are in the layers after them."""


DERIVED = (
    *(Quantity.LOSS_TERM, Quantity.ROWS, Quantity.LEFTOVER),
    *(Quantity.COPIES, Quantity.SCALE, Quantity.PAST_LOSS, Quantity.STEP_NORM),
)
"""Quantities that are computed of others."""


class RankMeasurements(NamedTuple):
    """Measurements of one rank, as they are sent to the others."""

    results: dict[Key, Any]
    failures: dict[Key, str]
    order: list[str]
    """Layers and functions in the order of their first call."""
    origins: dict[str, Origin]


@dataclass(frozen=True)
class Measurements:
    """Results of one step.

    Attributes:
        step: Step on the axis of all plots.
        results: What was measured, by quantity, name and statistic; layers in the order of their first call.
        origins: What the display names of layers and functions stand for.
        plan: What was asked for.
        parameter_steps: What optimizers did, by parameter.
        scaled: Whether a gradient scaler is in use, for which infinite gradients are no fault.
        due_step: Step that was due on the schedule; an earlier one where that was in the middle of an accumulation.
        failed: Measurements that raised in this fit.
        structure: Structure of the model, once the graph of a loss was read; kept over the steps of a fit.
    """

    step: int
    results: Mapping[Key, Any]
    origins: Mapping[str, Origin]
    plan: Plan
    parameter_steps: Mapping[str, ParameterStep] = field(default_factory=dict)
    scaled: bool = False
    due_step: int | None = None
    failed: Collection[Key] = ()
    structure: Structure | None = None

    @cached_property
    def _by_request(self) -> dict[Request, dict[str, Any]]:
        return {}

    @cached_property
    def _by_quantity(self) -> dict[Quantity, list[tuple[Key, Any]]]:
        groups: dict[Quantity, list[tuple[Key, Any]]] = {}
        for key, result in self.results.items():
            groups.setdefault(key.quantity, []).append((key, result))
        return groups

    @cached_property
    def has_nonfinite(self) -> bool:
        """True if anything that was measured has NaN or infinities."""
        return any(result.nonfinite for result in self.results.values())

    def of(self, request: Request) -> dict[str, Any]:
        """Returns the results of a request, by display name."""
        if request not in self._by_request:
            is_chosen = self._choice_of(request)
            self._by_request[request] = {
                key.name: result_as(request.statistic, result)
                for key, result in self._by_quantity.get(request.quantity, ())
                if covers(key.statistic, request.statistic) and is_chosen(key.name)
            }
        return self._by_request[request]

    def get(self, quantity: Quantity, name: str, statistic: Statistic) -> Any:
        """Returns one result; None if there is none."""
        exact = self.results.get(Key(quantity, name, statistic))
        if exact is not None:
            return exact
        for key, result in self._by_quantity.get(quantity, ()):
            if key.name == name and covers(key.statistic, statistic):
                return result_as(statistic, result)
        return None

    @property
    def was_skipped(self) -> bool:
        """True if the gradient scaler skipped a step: it then lowers its scale."""
        change = self.get(Quantity.SCALE, "", MomentsOf())
        return change is not None and change.mean < 0

    def why_no_layers(self, request: Request) -> str | None:
        """Returns why a request for layers has no results, and what to do; None if it has, or it was told before."""
        model = self.plan.model
        has_failed = any(key.quantity == request.quantity for key in self.failed)
        if self.of(request) or model.hidden or has_failed:  # the probe tells of those
            return None
        start = f"has nothing to measure in step {self.step}:"
        choice = "Choose layers by name or class name with layers=[...]."
        if self.plan.chosen.get(request):
            return f"{start} none of the layers that it is for was called. {choice}"
        modules = {
            type(unwrapped(layer)).__name__
            for layer in activation_layers(model.layers).values()
        }
        kinds = sorted(
            modules | {origin.kind for origin in self.origins.values() if origin.kind}
        )
        if (
            isinstance(request.statistic, SaturationOf)
            and kinds
            and set(kinds) <= set(NEVER)
        ):
            return f"{start} {', '.join(kinds)} never saturates. {choice}"
        name = type(model.root).__name__
        unseen = (
            ""
            if self.plan.observes_functions
            else " (functions are not observed beside torch.compile)"
        )
        return f"{start} {name} calls no activation that is known, as a module or as a function{unseen}. {choice}"

    def first_nonfinite(self) -> tuple[Key, int] | None:
        """Returns where NaN or infinities began, and how many there are; None without any.

        Left out are infinite gradients under a gradient scaler, which finds its scale by them, and numbers that are
        computed of others.
        """
        for key, count in self.nonfinite():
            is_gradient = key.quantity in (*BACKWARD, Quantity.LOSS)
            if key.quantity not in DERIVED and not (self.scaled and is_gradient):
                return key, count
        return None

    def nonfinite(self) -> Iterator[tuple[Key, int]]:
        """Yields what has NaN or infinities, and how many, causes before their effects."""
        quantities = list(Quantity)
        order = {key: place for place, key in enumerate(self.results)}

        def place(key: Key) -> tuple[int, int]:
            backward = key.quantity in BACKWARD
            return quantities.index(key.quantity), -order[key] if backward else order[
                key
            ]

        for key in sorted(self.results, key=place) if self.has_nonfinite else ():
            if count := self.results[key].nonfinite:
                yield key, count

    def _choice_of(self, request: Request) -> Callable[[str], bool]:
        """Returns whether a request is for a display name."""
        chosen = self.plan.chosen.get(request, set())
        if request.quantity not in OF_LAYERS:
            return chosen.__contains__

        def is_chosen(name: str) -> bool:
            origin = self.origins[name]
            if origin.kind:
                return self.plan.accepts_function(request, name, origin.kind)
            return origin.layer in chosen

        return is_chosen


def pool(ranks: Sequence[RankMeasurements]) -> RankMeasurements:
    """Adds up the measurements of all ranks; what failed on one of them has no result."""
    results: dict[Key, Any] = {}
    failures: dict[Key, str] = {}
    order: dict[str, None] = {}
    origins: dict[str, Origin] = {}
    for rank in ranks:
        failures |= rank.failures
        origins |= rank.origins
        order |= dict.fromkeys(rank.order)
        for key, result in rank.results.items():
            results[key] = results[key] + result if key in results else result
    results_without_failures = {
        key: result for key, result in results.items() if key not in failures
    }
    return RankMeasurements(results_without_failures, failures, list(order), origins)


def in_order(pooled: RankMeasurements, params: Mapping[str, Any]) -> dict[Key, Any]:
    """Returns results with layers in the order of their first call and parameters in that of their definition."""
    layers = {name: place for place, name in enumerate(pooled.order)}
    places = {name: place for place, name in enumerate(params)}

    def place(key: Key) -> tuple[int, int]:
        if key.quantity not in OF_LAYERS:
            return 0, places.get(key.name, 0)
        origin = pooled.origins[key.name]
        return 1, layers.get(key.name if origin.kind else origin.layer, 0)

    return {key: pooled.results[key] for key in sorted(pooled.results, key=place)}


def without_fallback(pooled: RankMeasurements, plan: Plan) -> RankMeasurements:
    """Drops the leaf layers that were observed in case no activation function would be called."""
    if not plan.fallback or not any(origin.kind for origin in pooled.origins.values()):
        return pooled
    asked = {request for request in plan.requests if request.patterns is not None}
    explicit = set().union(*(plan.chosen[request] for request in asked))
    dropped = plan.fallback - explicit
    results = {
        key: result
        for key, result in pooled.results.items()
        if key.quantity not in OF_LAYERS
        or key.quantity is Quantity.INPUT
        or pooled.origins[key.name].layer not in dropped
        or pooled.origins[key.name].kind
    }
    return pooled._replace(results=results)
