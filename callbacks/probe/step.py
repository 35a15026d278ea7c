"""One due step, from its first batch to the moved parameters."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ..measure.accumulate import Accumulator
from ..measure.statistic import MomentsOf, result_as
from .context import FitContext
from .guard import Guard
from .layer_observer import LayerObserver
from .optimizer_hooks import OptimizerHooks, can_be_hooked, takes_hooks
from .parameter_observer import ParameterObserver
from .parameter_steps import ParameterSteps
from .plan import Plan
from .request import Key, Quantity
from .structure import Structure, read_structure

MOMENTS = MomentsOf()


class Step:
    """Observation of one due step.

    Args:
        number: Step on the axis of all plots.
        due_step: Step that is due on the schedule; an earlier one where the step began in an accumulation.
        plan: What is to be measured.
        context: Facts of the fit.
    """

    def __init__(
        self, number: int, due_step: int, plan: Plan, context: FitContext
    ) -> None:
        self.number, self.due_step = number, due_step
        self.plan, self.context = plan, context
        self.accumulator: Accumulator[Key] = Accumulator(skipped=context.failed)
        self.parameter_steps = ParameterSteps(plan.name_of_param)
        self.batches = 0
        """Training batches that have ended."""
        self.in_batch = False
        """True from the begin of a batch to its end."""
        self.repeated_steps = False
        """Whether a parameter was moved more than once."""
        self.structure: Structure | None = None
        """Structure of the model, if the graph of a loss was read in this step."""
        self.moved_unseen = False
        """Whether parameters moved in a way that leaves no trace on them."""
        self.guard = Guard()
        self._optimizer_stepped = False
        self._announced: list[Optimizer] = []
        self._scale_before: Tensor | None = None
        self._layers = LayerObserver(plan, context, self.accumulator, self.guard)
        self._parameters = ParameterObserver(
            plan, context, self.accumulator, self.parameter_steps
        )
        self._optimizers = self._optimizer_hooks()

    @property
    def order(self) -> list[str]:
        """Layers and functions in the order of their first call."""
        return list(self._layers.order)

    def begin_batch(self) -> None:
        """Attaches all hooks; measures the parameters first, in the first batch."""
        if not (self.batches or self.in_batch):
            self._parameters.read_parameters()
        self.in_batch = True
        self._attach_to_optimizers()
        self._layers.attach()

    def _optimizer_hooks(self) -> OptimizerHooks:
        """Returns hooks: where Lightning steps the optimizers, it announces them, and only clipping has to be found."""
        if self.context.automatic:
            return OptimizerHooks(self.guard, ready=self._parameters.read_step_norm)
        return OptimizerHooks(self.guard, self._before_any_step, self._after_any_step)

    def _attach_to_optimizers(self) -> None:
        optimizers = self.context.optimizers()
        if not self.context.automatic or (
            # Of some of the optimizers alone, the norm would not be that of all gradients.
            self.plan.reads_step_norm and all(map(takes_hooks, optimizers))
        ):
            self._optimizers.attach(optimizers)

    def before_backward(self, loss: Tensor) -> None:
        """Measures the loss, and takes gradients from here on."""
        self._layers.begin_backward(loss, is_last=self.context.automatic)
        if self.plan.reads_structure and not self.batches:
            graph = Key(Quantity.LOSS_TERM, "graph", MOMENTS)
            self.accumulator.attempt([graph], partial(self._read_structure, loss))
        leftover = Key(Quantity.LEFTOVER, "a parameter", MOMENTS)
        self.accumulator.attempt([leftover], self._parameters.read_leftovers)
        micro_batches = self.context.micro_batches if self.context.automatic else 1
        key = Key(Quantity.LOSS, "", MOMENTS)
        unscaled = self.accumulator.attempt(
            [key], partial(self.context.scale.unscaled_loss, loss, micro_batches)
        )
        if unscaled is not None:
            self.accumulator.attempt(
                [key], partial(self.accumulator.add, key, MOMENTS, unscaled)
            )

    def _read_structure(self, loss: Tensor) -> None:
        """Reads the graph of the loss, and measures the loss functions in it."""
        earlier = self.structure or Structure()
        structure, values = read_structure(
            loss, self.plan.model.params, self._layers.nodes, len(earlier.terms)
        )
        self.structure = self.context.structure = earlier | structure
        for term, tensors in values.items():
            for name, tensor in tensors.items():
                key = Key(Quantity.LOSS_TERM, f"{name} of {term}", MOMENTS)
                self.accumulator.attempt(
                    [key], partial(self.accumulator.add, key, MOMENTS, tensor)
                )

    def after_backward(self) -> None:
        """Takes no gradients from here on.

        In manual optimization more forward passes may come. In automatic optimization more are only those of LBFGS, at
        parameters that have moved.
        """
        self._layers.takes_gradients = False
        if self.context.automatic:
            self._layers.detach()

    def before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Measures the gradients of an optimizer's parameters: complete, unscaled, and not clipped."""
        self._optimizer_stepped = True
        if not self.context.automatic and optimizer in self._unhooked:
            # Announced again: its step before has returned, which no hook told.
            self.parameter_steps.note_returned(optimizer)
            self._before_any_step(optimizer, has_closure=True)
        if self._scale_before is None:
            self._scale_before = self.context.scale.factor()
        self.parameter_steps.note_asked(optimizer)
        self._parameters.read_gradients(optimizer)
        self._announced.append(optimizer)

    def end_batch(self) -> bool:
        """Removes all hooks; returns whether the step has ended, that is, whether parameters were asked to move."""
        self.detach()
        self.in_batch = False
        self.batches += 1
        for optimizer in self._unhooked:
            self.parameter_steps.note_returned(optimizer)
        if self._optimizer_stepped or self.context.automatic:
            return self._optimizer_stepped
        has_moved, self.moved_unseen = self._parameters.have_moved()
        return has_moved

    @property
    def _unhooked(self) -> list[Optimizer]:
        """Optimizers that Lightning has announced, and no hook tells that their step returned."""
        if self.context.automatic:
            return self._announced
        return [each for each in self._announced if not can_be_hooked(each)]

    def detach(self) -> None:
        """Removes all hooks, until the next batch of the step."""
        self._layers.detach()
        self._optimizers.detach()

    def close(self) -> None:
        """Removes everything that could be left behind, also where Ctrl-C interrupted its registration."""
        self._layers.sweep()
        self._optimizers.sweep()

    def finish(self) -> dict[Key, Any]:
        """Measures the updates, copies everything to the CPU and returns the results of this rank."""
        self._parameters.read_updates()
        copies = Key(Quantity.COPIES, "a parameter", MOMENTS)
        self.accumulator.attempt([copies], self._parameters.read_copies)
        self._parameters.read_rates()
        self._read_scale()
        results = self.accumulator.results()
        if self.context.automatic and (unmoved := unmoved_in(results)):
            # Of interest only then, and there until the next batch: Lightning keeps gradients that long.
            self._parameters.read_largest_gradients(unmoved)
            results = self.accumulator.results()
        for name, step in self.parameter_steps.steps.items():
            if isinstance(step.rate, Tensor):
                step.rate = results[Key(Quantity.LEARNING_RATE, name, MOMENTS)].mean
        return results

    def _read_scale(self) -> None:
        """Measures by how much the gradient scaler changed its scale: it lowers it where it skips a step."""
        after = self.context.scale.factor()
        if self._scale_before is not None and after is not None:
            self.accumulator.add(
                Key(Quantity.SCALE, "", MOMENTS), MOMENTS, after - self._scale_before
            )

    def _before_any_step(self, optimizer: Optimizer, has_closure: bool) -> None:
        """Observes an optimizer that moves parameters again, or that Lightning does not announce.

        With a closure the gradients are not there yet; without, in manual optimization, they are complete.
        """
        names = [name for name, _ in self.parameter_steps.params_of(optimizer)]
        moved = [name for name in names if self.parameter_steps.any_returned([name])]
        if moved:
            self.repeated_steps = True
            self._parameters.read_updates(moved)
        if len(moved) < len(names) and not has_closure and not self.context.automatic:
            self.before_optimizer_step(optimizer)

    def _after_any_step(self, optimizer: Optimizer) -> None:
        params = list(self.parameter_steps.params_of(optimizer))
        if params and not self.context.automatic:
            self._optimizer_stepped = True
        new = {
            name for name, _ in params if not self.parameter_steps.any_returned([name])
        }
        self.parameter_steps.note_returned(optimizer)
        self.accumulator.attempt(
            [], partial(self._parameters.read_largest_gradients, new)
        )


def unmoved_in(results: Mapping[Key, Any]) -> set[str]:
    """Returns the parameters whose update is zero."""
    updates = (
        (key.name, result_as(MOMENTS, change))
        for key, change in results.items()
        if key.quantity is Quantity.UPDATE
    )
    return {name for name, change in updates if change.low == 0 == change.high}
