"""Probe: observes the due steps of one fit for all instruments together, and disturbs nothing."""

import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.optim import Optimizer

from .._lightning import LightningModule, Trainer
from .._messages import warn
from ..measure.statistic import MomentsOf
from .context import FitContext
from .distributed import gather
from .gradient_scale import GradientScale
from .measurements import (
    Measurements,
    RankMeasurements,
    in_order,
    pool,
    without_fallback,
)
from .plan import MOST, Model, Plan
from .request import OF_LAYERS, Key, Quantity, Request
from .selection import (
    check_matches,
    class_name,
    evenly_spread,
    named_layers,
    named_params,
    names_of_functions,
)
from .step import Step
from .windows import Windows

PATIENT = 64
"""Batches without a step of an optimizer after which the probe says that it still waits for one."""


class Probe:
    """Observation of one fit.

    Args:
        trainer: The Trainer, at the start of fit.
        module: Its LightningModule.
    """

    def __init__(self, trainer: Trainer, module: LightningModule) -> None:
        reference = weakref.ref(trainer)
        self.context = FitContext(
            trainer.global_rank,
            trainer.world_size,
            module.automatic_optimization,
            trainer.accumulate_grad_batches,
            GradientScale.of(trainer),
            lambda: getattr(reference(), "optimizers", []),
        )
        self._root = module
        self._model: Model | None = None
        self._step: Step | None = None
        self._postponed: int | None = None
        self._windows = Windows()
        self._plans: dict[Any, Plan] = {}
        self._lazy_names: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
        self._messages: set[str] = set()
        self._calls_functions = False
        self._functions: set[str] | None = None
        self.waits_in_vain = False
        """True once a due step had no step of an optimizer in `PATIENT` batches of an optimization by hand."""
        self.is_off = False
        """True once the observation itself has failed on any rank."""

    @property
    def observes(self) -> bool:
        """True while a due step is open, or waits for the end of an accumulation."""
        return self._step is not None or self._postponed is not None

    @property
    def is_open(self) -> bool:
        """True while a due step is open."""
        return self._step is not None

    def add(self, quantity: Quantity, values: Tensor) -> None:
        """Adds a number of the model as a whole to the open step, to be copied to the CPU with all others."""
        if self._step is not None:
            statistic = MomentsOf()
            key = Key(quantity, "", statistic)
            measure = partial(self._step.accumulator.add, key, statistic, values)
            self._step.accumulator.attempt([key], measure)

    def check_patterns(self, requests: Iterable[Request]) -> None:
        """Checks that every pattern matches a layer, a parameter, or the name that a function may have.

        Raises:
            InstrumentError: If one matches nothing; lists what there is.
        """
        layers, params = named_layers(self._root), named_params(self._root)
        self._lazy_names |= {
            layer: class_name(layer)
            for layer in layers.values()
            if isinstance(layer, LazyModuleMixin)
        }
        real = {
            name: param for name, param in params.items() if param.is_floating_point()
        }
        for request in requests:
            if request.patterns is None:
                continue
            if request.quantity in OF_LAYERS:
                check_matches(
                    layers,
                    request.patterns,
                    "layers",
                    class_name,
                    names_of_functions(layers),
                )
            else:
                check_matches(real, request.patterns, "params")

    def begin_batch(
        self, step: int, due: Callable[[int], Sequence[Request]]
    ) -> Measurements | None:
        """Begins a due step, or goes on with one that is open.

        Args:
            step: Step of the batch that begins.
            due: Returns the requests that are due at a step.

        Returns:
            The measurements of a step whose end shows only now: its optimizer was never asked to step.
        """
        ended = None
        if (
            self._step is not None
            and self._step.number != step
            and self.context.automatic
        ):
            ended = self._finish()
        if self._step is None and not self.is_off:
            self._begin_step(step, due)
        if self._step is not None and self._step.guard.error is None:
            self._step.begin_batch()
        return ended

    def note_batch(self, step: int) -> None:
        """Notes a batch before a due one, in manual optimization: it may be in the middle of an accumulation."""
        self._windows.note_batch(step, self._root.parameters())

    def _begin_step(self, step: int, due: Callable[[int], Sequence[Request]]) -> None:
        """Begins a due step; in manual optimization with the first batch of an accumulation, if need be a later one."""
        due_step = step if due(step) else self._postponed
        if due_step is None:
            return
        self._postponed = None
        if not self.context.automatic and not self._windows.begins_at(
            step, self._root.parameters()
        ):
            self._postponed = due_step
            self.note_batch(step)
            return
        self._step = Step(step, due_step, self._plan(due(due_step)), self.context)

    def before_backward(self, loss: Tensor) -> None:
        """Notes that a loss is about to be backpropagated."""
        if self._step is not None:
            self._step.before_backward(loss)

    def after_backward(self) -> None:
        """Notes that a loss has been backpropagated."""
        if self._step is not None:
            self._step.after_backward()

    def before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Notes that the gradients of an optimizer are complete."""
        if self._step is not None:
            self._step.before_optimizer_step(optimizer)

    def end_batch(self) -> Measurements | None:
        """Ends a batch; returns the measurements of the step if it ends as well."""
        if self._step is None:
            return None
        if self._step.end_batch():
            self._windows.note_end(self._step.number + self._step.batches)
            self._windows.moves_unseen |= self._step.moved_unseen
            return self._finish()
        if self._step.batches == PATIENT and not self.context.automatic:
            self.waits_in_vain = True
            self._say_once(
                "no optimizer step",
                f"no optimizer of this model has stepped in {PATIENT} batches since step {self._step.number}, whose "
                "numbers are written when one does.",
            )
        return None

    def end_epoch(self) -> None:
        """Drops a step in a batch that Lightning never ended, as where `on_train_batch_start` returns -1.

        Its gradients would not be those of the batches that were observed.
        """
        if self._step is not None and self._step.in_batch:
            self._step.detach()
            self._step = None

    def end_training(self) -> Measurements | None:
        """Ends a step of which only the optimizer's step is missing."""
        if self._step is None or not self._step.batches or not self.context.automatic:
            return None
        return self._finish()

    def give_up(self, error: Exception) -> None:
        """Notes that the observation itself went wrong: no rank then has results of the step."""
        if self._step is not None:
            self._step.guard.error = self._step.guard.error or error
            self._step.close()

    def close(self) -> None:
        """Leaves nothing behind in the model; may be called at any time, any number of times."""
        step, self._step = self._step, None
        if step is not None:
            step.close()

    def _plan(self, requests: Sequence[Request]) -> Plan:
        if self._model is None or not self._model.is_current:
            self._model = Model(self._root, self._lazy_names)
            self._plans.clear()
            self.context.names.reserve(self._model.layers)
            self._say_what_is_hidden(self._model)
        key = (*requests, self._calls_functions)
        if key not in self._plans:
            self._plans[key] = Plan(
                self._model, requests, not self._calls_functions, self._functions
            )
            self._say_what_was_reduced(self._plans[key])
        return self._plans[key]

    def _say_what_was_reduced(self, plan: Plan) -> None:
        for argument, number in plan.reduced.items():
            things = {"layers": "layers", "params": "weight matrices"}[argument]
            self._say_reduced(argument, f"{number} {things}")

    def _say_reduced(self, argument: str, number: str) -> None:
        name = type(self._root).__name__
        self._say_once(
            f"reduced {argument}",
            f"{name} has {number}, of which {MOST} are observed, evenly spread over its depth. "
            f"Give {argument}=[...] to choose them; ['*'] takes all.",
        )

    def _say_what_is_hidden(self, model: Model) -> None:
        reasons = {
            "inside compiled code cannot be observed": model.in_compiled,
            "of a frozen transformer are not observed, which would change its fused forward pass": model.in_fast_path,
        }
        for reason, modules in reasons.items():
            hidden = [name for name, layer in model.layers.items() if layer in modules]
            if hidden:
                names = ", ".join(hidden[:5]) + (", ..." if len(hidden) > 5 else "")
                self._say_once(
                    reason, f"layers {reason}, and have no numbers: {names}."
                )

    def _reduce_functions(self, pooled: RankMeasurements, plan: Plan) -> None:
        """Reduces the default choice of activation functions to `MOST`, once it is known how many there are."""
        functions = [
            name
            for name in pooled.order
            if name in pooled.origins and pooled.origins[name].kind
        ]
        if self._functions is None and len(functions) > MOST:
            self._functions = plan.functions = set(evenly_spread(functions, MOST))
            self._plans.clear()
            if any(
                request.patterns is None and request.quantity in OF_LAYERS
                for request in plan.requests
            ):
                self._say_reduced(
                    "layers", f"{len(functions)} layers with activation functions"
                )

    def _finish(self) -> Measurements | None:
        """Pools the step over ranks; returns None if the observation went wrong on one of them."""
        step, self._step = self._step, None
        assert step is not None
        ranks = gather(self._measured_here(step), self.context.ranks)
        if (error := step.guard.error) is not None:
            cause = f"{type(error).__name__}: {error}"
            warn(
                f"Training diagnostics failed in step {step.number} and are off until the next fit. {cause}"
            )
        if any(rank is None for rank in ranks):
            self.is_off = True
            return None
        pooled = without_fallback(pool(ranks), step.plan)
        self._calls_functions |= any(origin.kind for origin in pooled.origins.values())
        self._reduce_functions(pooled, step.plan)
        self._say_failures(pooled.failures, step.number)
        self._say_repeated_steps(step)
        return Measurements(
            step.number,
            in_order(pooled, step.plan.model.params),
            pooled.origins,
            step.plan,
            step.parameter_steps.steps,
            self.context.scale.scaler is not None,
            step.due_step,
            self.context.failed,
            self.context.structure,
        )

    def _measured_here(self, step: Step) -> RankMeasurements | None:
        """Returns the measurements of this rank; None if the observation went wrong."""
        step.detach()
        results = step.guard.safely(step.finish)
        if step.guard.error is not None:
            return None
        failures = {
            key: f"{type(error).__name__}: {error}"
            for key, error in step.accumulator.failures.items()
        }
        return RankMeasurements(
            results, failures, step.order, dict(self.context.names.origins)
        )

    def _say_repeated_steps(self, step: Step) -> None:
        if step.repeated_steps:
            self._say_once(
                "repeated steps",
                f"parameters were moved more than once in the batch of step {step.number}; gradients and updates are "
                "those of the first time.",
            )

    def _say_failures(self, failures: dict[Key, str], step: int) -> None:
        """Warns of measurements that raised, each once, those of one cause together."""
        causes: dict[tuple[str, str], list[Key]] = {}
        for key, error in failures.items():
            if key not in self.context.failed:
                causes.setdefault(
                    (type(key.statistic).__name__.removesuffix("Of").lower(), error), []
                ).append(key)
        self.context.failed |= failures.keys()
        if self.context.rank:
            return
        for (statistic, error), keys in causes.items():
            names = ", ".join(key.quantity.of(key.name) for key in keys[:3])
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            warn(
                f"Training diagnostics: the {statistic} of the {names}{more} failed in step {step}, and are off until "
                f"the next fit. {error}"
            )

    def _say_once(self, cause: str, message: str) -> None:
        if cause not in self._messages and self.context.rank == 0:
            self._messages.add(cause)
            warn(f"Training diagnostics: {message}")
