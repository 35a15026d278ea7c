"""Observation of layers and activation functions: their outputs, inputs and the gradients of their outputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from ..measure.accumulate import Accumulator
from ..measure.activations import Activation
from ..measure.flat_regions import FlatRegion, flat_region
from ..measure.statistic import Distribution, SaturationOf, Statistic
from .context import FitContext
from .function_calls import FunctionCalls
from .guard import Guard
from .layer_hooks import LayerHooks, first_tensor, floating_tensors
from .plan import Plan, Wanted
from .request import Key, Quantity

FindRegion = Callable[[float], FlatRegion | None]
"""Returns where an activation is saturated, given the threshold for tanh; None if it never is."""


class FunctionCall(NamedTuple):
    """Observed call of an activation function."""

    name: str
    wanted: Wanted
    find_region: FindRegion


@dataclass
class LayerObserver:
    """Measures what layers return in one step.

    Attributes:
        plan: What is to be measured.
        context: Facts of the fit.
        accumulator: Takes the measurements.
        guard: Keeps exceptions out of the model.
        order: Layers and functions in the order of their first call.
        takes_gradients: True while the loss is being backpropagated. Gradients at other times come from `autograd.grad`
            inside `training_step`.
    """

    plan: Plan
    context: FitContext
    accumulator: Accumulator[Key]
    guard: Guard
    order: dict[str, None] = field(default_factory=dict)
    takes_gradients: bool = False
    nodes: dict[Any, str] = field(default_factory=dict)
    """Names of outputs by autograd node, in a step whose graph is read."""

    def __post_init__(self) -> None:
        self._hooks = LayerHooks(
            self.guard,
            self._observe_output,
            self._observe_input,
            self._note_call,
            self._begin_caller,
        )
        self._functions = FunctionCalls(
            self.guard, self, self.plan.model.layers, self.plan.model.root
        )
        self._calls: dict[tuple[str, str], int] = {}

    def attach(self) -> None:
        """Observes the batch that begins."""
        self._calls.clear()
        self._has_input = False
        layers = {name: self.plan.model.layers[name] for name in self.plan.layers}
        with_input = {
            name for (name, _), region in self.plan.regions.items() if region.of_input
        }
        with_input |= {
            name
            for name, wanted in self.plan.layers.items()
            if Quantity.INPUT in wanted
        }
        self._hooks.attach(layers, with_input)
        if self.plan.observes_functions:
            self._functions.__enter__()

    def begin_backward(self, loss: Tensor, is_last: bool) -> None:
        """Takes gradients from here on.

        Args:
            loss: Loss that is about to be backpropagated.
            is_last: Whether no forward pass comes after it, so that functions need no longer be observed.
        """
        self.takes_gradients = True
        if is_last:
            self._functions.remove()
        if self.plan.observes_functions and self._hooks.called_without_grad:
            self._functions.enter_in_recomputations(loss)

    def detach(self) -> None:
        """Observes no more, until the next batch."""
        self.takes_gradients = False
        self.nodes.clear()  # they keep the graph alive
        self._hooks.detach()
        self._functions.remove()

    def sweep(self) -> None:
        """Removes everything, also where Ctrl-C interrupted its registration."""
        self.detach()
        self._hooks.sweep()

    # Layers.

    def _note_call(self, name: str) -> None:
        self.order.setdefault(name)

    def _begin_caller(self, caller: str) -> None:
        """Counts the activation functions of a module from the first again, since a new call of it begins."""
        for place in [place for place in self._calls if place[0] == caller]:
            del self._calls[place]

    def _observe_input(self, layer: str, arguments: Any) -> None:
        values = first_tensor(arguments)
        wanted = self.plan.layers[layer]
        if values is not None:
            name = self.context.names.of_output(layer, "")
            self._measure_input(name, wanted, values)
            self._measure_saturation(
                name, wanted, partial(self._region, layer), values, True
            )
        self._has_input |= Quantity.INPUT in wanted

    def _measure_input(self, name: str, wanted: Wanted, values: Tensor) -> None:
        """Measures the model's input: the input of the first layer, unless layers without gradients came before."""
        is_first = not (self._has_input or self._hooks.called_without_grad)
        for statistic in wanted.get(Quantity.INPUT, ()) if is_first else ():
            if values.grad_fn is None and not isinstance(statistic, SaturationOf):
                key = Key(Quantity.INPUT, name, statistic)
                self.accumulator.attempt(
                    [key], partial(self.accumulator.add, key, statistic, values)
                )

    def _observe_output(self, layer: str, output: Any) -> None:
        paths: dict[str, int] = {}
        for path, values in floating_tensors(output):
            repeated = paths[path] = (
                paths.get(path, -1) + 1
            )  # keys "a.b" and "a", "b" make one path
            name = self.context.names.of_output(layer, path + repeated * "'")
            self._measure_output(
                name, self.plan.layers[layer], partial(self._region, layer), values
            )

    def _region(self, layer: str, threshold: float) -> FlatRegion | None:
        return self.plan.regions.get((layer, threshold))

    # Activation functions.

    def begin_call(
        self, caller: str, function: str, activation: Activation, values: Tensor
    ) -> FunctionCall | None:
        """Names a call of an activation function and measures its input where that decides on saturation."""
        model = self.plan.model
        self._hooks.watch(caller, model.layers.get(caller, model.root))
        number = self._calls.get((caller, function), 0)
        self._calls[caller, function] = number + 1
        name = self.context.names.of_function(caller, function, number, activation.kind)
        wanted = self.plan.statistics_of_function(name, activation.kind)
        if not wanted:
            return None
        self._hooks.note(name)
        if not self._hooks.is_observed():
            return None
        call = FunctionCall(name, wanted, partial(flat_region, activation))
        self._measure_saturation(name, wanted, call.find_region, values, True)
        return call

    def end_call(self, call: FunctionCall, output: Any) -> None:
        """Measures the output of an activation function."""
        if isinstance(output, Tensor):
            self._measure_output(call.name, call.wanted, call.find_region, output)

    # Tensors.

    def _measure_output(
        self, name: str, wanted: Wanted, find_region: FindRegion, values: Tensor
    ) -> None:
        self.context.shapes.setdefault(name, tuple(values.shape))
        for statistic in wanted.get(Quantity.ACTIVATION, ()):
            if not isinstance(statistic, SaturationOf):
                key = Key(Quantity.ACTIVATION, name, statistic)
                self.accumulator.attempt(
                    [key], partial(self.accumulator.add, key, statistic, values)
                )
        self._measure_saturation(name, wanted, find_region, values, False)
        if self.plan.reads_structure and values.grad_fn is not None:
            self.nodes[values.grad_fn] = name
        # What no operation made is a parameter, or a part of the batch: a hook on it would stay for ever.
        if values.grad_fn is not None and (
            statistics := wanted.get(Quantity.ACTIVATION_GRAD)
        ):
            # The hook must not hold the output, which it would keep alive.
            values.register_hook(partial(self._observe_gradient, name, statistics))

    def _measure_saturation(
        self,
        name: str,
        wanted: Wanted,
        find_region: FindRegion,
        values: Tensor,
        is_input: bool,
    ) -> None:
        for statistic in wanted.get(Quantity.ACTIVATION, ()):
            if isinstance(statistic, SaturationOf):
                key = Key(Quantity.ACTIVATION, name, statistic)
                region = find_region(statistic.threshold)
                if region is not None and region.of_input == is_input:
                    measure = partial(
                        self.accumulator.add_saturation, key, statistic, region, values
                    )
                    self.accumulator.attempt([key], measure)

    def _observe_gradient(
        self, name: str, statistics: Sequence[Statistic], gradient: Tensor
    ) -> None:
        for statistic in statistics if self.takes_gradients else ():
            if not isinstance(statistic, SaturationOf):
                key = Key(Quantity.ACTIVATION_GRAD, name, statistic)
                self.accumulator.attempt(
                    [key], partial(self._add_gradient, key, statistic, gradient)
                )

    def _add_gradient(
        self, key: Key, statistic: Distribution, gradient: Tensor
    ) -> None:
        self.accumulator.add(
            key, statistic, self.context.scale.unscaled_activation_grad(gradient)
        )
