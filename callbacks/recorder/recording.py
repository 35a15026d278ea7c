"""Recording: the last steps of one fit, and what is known when something goes wrong in them."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .._lightning import LightningModule, Trainer
from ..probe.gradient_scale import GradientScale
from ..probe.layer_hooks import floating_tensors
from ..probe.length import step_of
from ..probe.nonfinite_rerun import find_origin
from ..probe.selection import named_params
from ..probe.windows import versions_of
from .first_seen import FirstSeen, first_jump, first_nonfinite
from .gradient_norms import GradientNorms
from .jump import JumpRule
from .kept_batches import KeptBatch, KeptBatches
from .magnitudes import Magnitudes, largest_magnitude
from .options import Options
from .origin import first_update, of_origin
from .rows import Numbers, Row, read_rows
from .states import ChangingBuffers, Snapshot, Snapshots, cloned, read_state
from .trigger import Trigger
from .watched_numbers import MOST_PENDING, WatchedNumbers

MOST_TENSORS = 4
"""Tensors of a batch whose largest magnitude is measured."""


@dataclass(frozen=True)
class Evidence:
    """Numbers, batches and state of a step in which something went wrong.

    Attributes:
        trigger: Why it was noticed.
        first: What was out of line first.
        numbers: Numbers of the last steps, ascending.
        batches: Batches from the state's step on; all that were kept where there is no state.
        state: Copy of the state before the first of these batches; None where it cannot be had.
        progress: `Recording.progress` when the numbers were read.
    """

    trigger: Trigger
    first: FirstSeen
    numbers: Sequence[Numbers]
    batches: Sequence[KeptBatch]
    state: Snapshot | None
    progress: tuple[int, int]


class Recording:
    """The last steps of one fit.

    Numbers stay on the device where they were computed, and batches are kept as references.

    Args:
        trainer: The Trainer, at the start of training.
        module: Its LightningModule.
        layers: Layers whose outputs are measured, by name.
        options: What is kept, and what is a jump.
    """

    def __init__(
        self,
        trainer: Trainer,
        module: LightningModule,
        layers: Mapping[str, nn.Module],
        options: Options,
    ) -> None:
        self._trainer, self._module = trainer, module
        self._scale = GradientScale.of(trainer)
        self._params = list(named_params(module).values())
        self._is_sharded = any(hasattr(each, "placements") for each in self._params)
        self._norms = GradientNorms(module, self._scale)
        self._magnitudes = Magnitudes(layers)
        rules = {
            "loss": JumpRule(options.loss_factor, options.deviations),
            "gradient norm": JumpRule(options.gradient_factor, options.deviations),
        }
        self._watched = WatchedNumbers(rules, self._scale.scaler is not None)
        # The step before may be the one: its update can have made a parameter NaN.
        reach = 1 if trainer.strategy.root_device.type == "cpu" else 1 + MOST_PENDING
        steps = reach + (options.state_every_n_steps or 1)
        most = max(options.batches, self._micro_batches * steps)
        self._batches = KeptBatches(module, most)
        self._snapshots = Snapshots(options.state_every_n_steps, reach)
        self._buffers = ChangingBuffers(module)
        self._rows: deque[Row] = deque(maxlen=options.steps)
        self._postponed: Trigger | None = None
        self._versions: list[int] = []
        self._clips = clips(trainer, module)
        self._stepped: list[Optimizer] = []
        self._in_batch = False
        self._first_step = step_of(trainer)
        self._losses_of_batch = 0
        self._is_stepping = self._may_have_moved = self._moves_unseen = False
        self._is_out_of_memory = False
        self._magnitudes.attach()

    @property
    def _micro_batches(self) -> int:
        """Batches of an accumulation, which may change from epoch to epoch."""
        is_automatic = self._module.automatic_optimization
        return self._trainer.accumulate_grad_batches if is_automatic else 1

    @property
    def error(self) -> Exception | None:
        """Exception of the measurement of a layer's output; None while there is none."""
        return self._magnitudes.guard.error

    def begin_batch(self, batch: Any, batch_idx: int) -> None:
        """Keeps a batch, and begins a step with the first one of it."""
        self._in_batch, self._losses_of_batch = True, 0
        trainer = self._trainer
        step = step_of(trainer)
        if not self._rows or self._rows[-1].step != step:
            self._begin_step(step)
        self._magnitudes.largest = self._rows[-1].magnitudes
        self._batches.add(
            step, batch, batch_idx, trainer.current_epoch, trainer.global_step
        )
        for path, tensor in list(floating_tensors(batch, "batch"))[:MOST_TENSORS]:
            if tensor.numel():
                self._magnitudes.add(path, largest_magnitude(tensor))

    def _begin_step(self, step: int) -> None:
        versions = versions_of(self._params)
        # An optimizer of its own may write to `param.data`, which leaves no trace.
        self._moves_unseen = self._is_stepping and versions == self._versions
        self._is_stepping = self._may_have_moved = False
        self._rows.append(Row(step, self._clips))
        self._stepped = []
        self._buffers.read()
        self._versions = versions
        if self._snapshots.is_due(step) and not self._is_sharded:
            state = cloned(read_state(self._module, self._trainer))
            self._snapshots.add(step, state)

    def before_backward(self, loss: Tensor) -> Trigger | None:
        """Judges a loss."""
        row = self._rows[-1]
        self._may_have_moved = self._is_stepping
        value = self._scale.unscaled_loss(loss, self._micro_batches)
        if self._scale.scaler is not None and loss.dtype == torch.float16:
            value = value.nan_to_num(nan=float("nan"))  # the scale can be too large
        row.losses.append(value)
        is_automatic = self._module.automatic_optimization
        source = 0 if is_automatic else self._losses_of_batch
        self._losses_of_batch += 1
        trigger = self._watched.add(row.step, "loss", value, source)
        if trigger is None or trigger.kind == "nonfinite":
            return trigger
        self._postponed = trigger  # until the gradients of the step are there as well
        return None

    def before_optimizer_step(self, optimizer: Optimizer) -> Trigger | None:
        """Judges the gradients of an optimizer."""
        row = self._rows[-1]
        self._may_have_moved, self._is_stepping = self._is_stepping, True
        norms = self._norms.measure(optimizer)
        if norms is None:
            return self._take_postponed()
        if optimizer not in self._stepped:
            self._stepped.append(optimizer)
            row.learning_rates += learning_rates(optimizer)
            if not self._is_sharded:
                row.gradients[id(optimizer)] = norms
        trigger = self._watched.add(
            row.step, "gradient norm", norms.norms, id(optimizer)
        )
        postponed = self._take_postponed()
        return postponed or trigger

    def end_batch(self) -> Trigger | None:
        """Measures what the clipping left of the gradients, and reads what has come from a device."""
        self._in_batch = False
        self._may_have_moved = self._is_stepping
        self._magnitudes.largest = {}  # of validation, which may ask for gradients, too
        row = self._rows[-1]
        if self._clips and not self._is_sharded:
            for optimizer in self._stepped:
                norms = self._norms.measure(optimizer)
                if norms is not None:
                    row.clipped.append(torch.linalg.vector_norm(norms.norms))
        self._stepped = []
        postponed = None if self._accumulates else self._take_postponed()
        return postponed or self._watched.read_pending()

    @property
    def _accumulates(self) -> bool:
        """True at the end of a batch after which no optimizer steps yet."""
        is_automatic = self._module.automatic_optimization
        return is_automatic and self._trainer.fit_loop.epoch_loop._should_accumulate()

    def end(self) -> Trigger | None:
        """Judges what has not come from a device yet, and the parameters after the last update."""
        if not self._rows:
            return None
        step = self._rows[-1].step
        trigger = self._watched.read_pending(wait=True)
        if trigger is not None or self._watched.goes_on(step):
            return trigger
        update = first_update(self._module, self._trainer.optimizers, step)
        return update and Trigger("nonfinite", step, update.message)

    def of_exception(self, exception: BaseException) -> Trigger | None:
        """Returns the trigger of an exception; None before the first step."""
        if not self._rows:
            return None
        self._may_have_moved = self._is_stepping
        self._is_out_of_memory = isinstance(
            exception, MemoryError | torch.cuda.OutOfMemoryError
        )
        step = self._rows[-1].step
        cause = f"{type(exception).__name__}: {exception}".splitlines()[0]
        when = "in" if self._in_batch else "after"
        message = f"Training raised {when} step {step}: {cause}"
        return Trigger("exception", step, message)

    @property
    def progress(self) -> tuple[int, int]:
        """Losses, and optimizers with gradients, that the current step has had so far."""
        row = self._rows[-1]
        return len(row.losses), len(row.gradients)

    def numbers(self) -> list[Numbers]:
        """Reads the numbers of the last steps, ascending."""
        return read_rows(list(self._rows))

    def close(self) -> None:
        """Leaves nothing behind; may be called any number of times."""
        self._magnitudes.detach()

    def _take_postponed(self) -> Trigger | None:
        trigger, self._postponed = self._postponed, None
        return trigger

    def evidence(self, trigger: Trigger) -> Evidence:
        """Gathers what is known of the step of a trigger; copies the state, and may run the step again."""
        rows = [row for row in self._rows if row.step <= trigger.step]
        numbers = read_rows(rows)
        first = self._first_seen(trigger, numbers)
        state = self._state_before(first.step)
        # Without a state all that there are: the last checkpoint may be of one of their steps.
        start = 0 if state is None else state.step
        batches = self._batches.of_steps(start, trigger.step)
        return Evidence(trigger, first, numbers, batches, state, self.progress)

    def _first_seen(self, trigger: Trigger, numbers: Sequence[Numbers]) -> FirstSeen:
        if trigger.kind == "jump":
            first = first_jump(numbers)
        else:
            # A gradient scaler finds its scale by gradients that are not finite.
            has_scaler = self._scale.scaler is not None
            first = first_nonfinite(numbers, with_gradients=not has_scaler)
            if trigger.kind == "nonfinite" or first is not None or self._is_computing:
                first = self._origin(trigger.step) or first
        return first or FirstSeen(trigger.step, "", trigger.message)

    @property
    def _is_computing(self) -> bool:
        """True from the beginning of a step to its first gradients, if there is memory for a second run."""
        return self._in_batch and not self._is_stepping and not self._is_out_of_memory

    def _origin(self, step: int) -> FirstSeen | None:
        """Returns where NaN or infinities began, by a second run of the step; None where that is not possible."""
        is_last = step == self._rows[-1].step
        if self._has_moved(step):
            optimizers = self._trainer.optimizers
            update = first_update(self._module, optimizers, step) if is_last else None
            # Of several losses a step, as of a GAN, the last one is of the parameters of now.
            if update is not None or not (is_last and self._in_batch):
                return update
        try:
            for batch in self._batches.of_steps(step, step):
                origin = find_origin(self._trainer, self._module, batch.inputs)
                if origin is not None:
                    return of_origin(origin, self._first_step)
        except Exception:
            return None  # the numbers of the step then name a layer
        return None

    def _state_before(self, step: int) -> Snapshot | None:
        """Returns the state before a step: that of now, if nothing has moved, or the last copy."""
        if self._is_sharded:
            return None
        if not self._has_moved(step):
            buffers = self._buffers.copies
            # By reference: it is written at once, and there may be no memory for a copy.
            return Snapshot(step, read_state(self._module, self._trainer, buffers))
        return self._snapshots.before(step)

    def _has_moved(self, step: int) -> bool:
        """True if parameters are no longer those before a step."""
        if step != self._rows[-1].step or versions_of(self._params) != self._versions:
            return True
        return self._moves_unseen and self._may_have_moved


def learning_rates(optimizer: Optimizer) -> list[Any]:
    """Returns the learning rate of each parameter group: a number, or a copy of a tensor."""
    rates = [group["lr"] for group in optimizer.param_groups]
    return [rate.clone() if isinstance(rate, Tensor) else rate for rate in rates]


def clips(trainer: Trainer, module: LightningModule) -> bool:
    """True if Lightning, or a method of the module that it calls, may clip gradients after they are complete."""
    if not module.automatic_optimization:
        return False
    hooks = (
        type(module).configure_gradient_clipping,
        type(module).on_before_optimizer_step,
    )
    packages = {hook.__module__.split(".")[0] for hook in hooks}
    is_own = not packages <= {"lightning", "pytorch_lightning"}
    return is_own or bool(trainer.gradient_clip_val)
