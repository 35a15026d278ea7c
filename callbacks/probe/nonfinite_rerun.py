"""Second run of a training step that gave NaN or infinities, with all modules observed."""

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes as no_modes

from .._lightning import LightningModule, Trainer
from .counters import Count, set_counts
from .layer_hooks import Hook, floating_tensors
from .nonfinite_origin import NonfiniteOrigin
from .nonfinite_trace import BackwardTrace, Calls, Event, ForwardTrace, count_nonfinite
from .preserved_state import has_iterators, preserved, set_random_state
from .request import Quantity
from .selection import named_layers, named_params


class Found(Exception):  # noqa: N818  no error: it ends a training step by hand
    """Ends the second run of a training step once the place is known."""


@dataclass(frozen=True)
class StepInputs:
    """Inputs of a training step, as references.

    Attributes:
        step: Step on the axis of all plots.
        batch: Batch.
        batch_idx: Its number in the epoch.
        random_state: States of random number generators before the step.
        counts: Numbers that modules count on.
    """

    step: int
    batch: Any
    batch_idx: int
    random_state: dict[str, Any]
    counts: list[Count]


def find_origin(
    trainer: Trainer, module: LightningModule, inputs: StepInputs
) -> NonfiniteOrigin | None:
    """Returns where NaN or infinities began in a step; None if that cannot be told.

    The batch and the parameters come first; if these are finite, the step is run again and changes nothing.
    """
    for path, tensor in floating_tensors(inputs.batch):
        if bool(tensor.isnan().any()):
            return of_batch(inputs.step, path, tensor)
    for name, param in named_params(module).items():
        if count := count_nonfinite(param.detach()):
            return of_parameter(inputs.step, name, count)
    if not can_run_again(trainer, module):
        return None
    return Rerun(trainer, module, inputs).origin()


def of_batch(step: int, path: str, tensor: Tensor) -> NonfiniteOrigin:
    """Returns the origin of NaN or infinities that are in the batch."""
    count = count_nonfinite(tensor)
    place = f"tensor {path[1:]} of the batch" if path else "batch"
    message = f"NaN or Inf began in step {step}, in the {place}: {count} of {tensor.numel()} values."
    return NonfiniteOrigin(step, "batch", None, "", count, message)


def of_parameter(step: int, name: str, count: int) -> NonfiniteOrigin:
    """Returns the origin of NaN or infinities that the update of the step before has made."""
    message = (
        f"NaN or Inf began with the update of the step before step {step}, in parameter {name}: "
        f"{count} of its values."
    )
    return NonfiniteOrigin(step, name, Quantity.WEIGHT, "", count, message)


def can_run_again(trainer: Trainer, module: nn.Module) -> bool:
    """True if a step needs nothing of other ranks, which do not run theirs again, and leaves no trace."""
    if has_iterators(module):
        return False
    if trainer.world_size == 1:
        return True
    is_sharded = any(hasattr(param, "placements") for param in module.parameters())
    has_sync = any(isinstance(each, nn.SyncBatchNorm) for each in module.modules())
    return not (is_sharded or has_sync)


class Rerun:
    """Second run of one training step.

    Args:
        trainer: The Trainer.
        module: Its LightningModule.
        inputs: Inputs of the step.
    """

    def __init__(
        self, trainer: Trainer, module: LightningModule, inputs: StepInputs
    ) -> None:
        self.trainer, self.module, self.inputs = trainer, module, inputs
        self._batch = copy_of(inputs.batch)
        names = {layer: name for name, layer in named_layers(module).items()}
        self._calls = Calls({module: ""} | names)
        suspects = {tensor.data_ptr() for _, tensor in floating_tensors(self._batch)}
        self._forward = ForwardTrace(self._calls, suspects)
        self._params = {id(param): name for name, param in named_params(module).items()}
        self._origin: NonfiniteOrigin | None = None

    def origin(self) -> NonfiniteOrigin | None:
        """Runs the step and returns where NaN or infinities began; None if they did not come again."""
        with preserved(self.module), without_observers():
            set_random_state(self.inputs.random_state)
            set_counts(self.inputs.counts)
            remove_own_hooks(self.module)
            self._calls.attach()
            self._replace_side_effects()
            with contextlib.suppress(Found):
                loss = self._training_step_or_origin()
                if self.module.automatic_optimization and loss is not None:
                    self._judge(loss)
        return self._origin

    def _training_step_or_origin(self) -> Tensor | None:
        """Returns the loss; ends the run where a step raises that has NaN or infinities, as a check of its own may."""
        try:
            return self._training_step()
        except Exception:
            event = self._forward.last_origin()
            if event is None:
                raise
            self._origin = self._of_event(event)
            raise Found from None

    def _training_step(self) -> Tensor | None:
        arguments = [self._batch]
        if takes_number(self.module.training_step):
            arguments.append(self.inputs.batch_idx)
        with self.trainer.precision_plugin.train_step_context(), self._forward:
            output: Any = self.module.training_step(*arguments)
        return output["loss"] if isinstance(output, dict) else output

    def _replace_side_effects(self) -> None:
        """Makes methods that log or step optimizers do nothing; `preserved` brings them back."""
        module: Any = self.module
        for name in (
            "log",
            "log_dict",
            "print",
            "toggle_optimizer",
            "untoggle_optimizer",
        ):
            setattr(module, name, do_nothing)
        if module.automatic_optimization:
            return
        optimizers = [IdleOptimizer(each) for each in self.trainer.optimizers]
        module.optimizers = lambda *_, **__: (
            optimizers[0] if len(optimizers) == 1 else optimizers
        )
        module.lr_schedulers = lambda *_, **__: None
        module.clip_gradients = do_nothing
        module.manual_backward = lambda loss, *_, **__: self._judge(loss)

    def _judge(self, loss: Tensor) -> None:
        """Searches the forward pass of a loss for the origin, then its backward pass."""
        with no_modes():
            if count_nonfinite(loss.detach()):
                self._origin = self._of_forward(self._forward.origin(loss), loss)
            else:
                self._origin = self._of_backward(loss)
        if self._origin is not None:
            raise Found

    def _of_forward(self, event: Event | None, loss: Tensor) -> NonfiniteOrigin:
        if event is not None:
            return self._of_event(event)
        step = self.inputs.step
        message = f"NaN or Inf began in step {step}, in the loss."
        return NonfiniteOrigin(step, "", Quantity.LOSS, "", loss.numel(), message)

    def _of_event(self, event: Event) -> NonfiniteOrigin:
        step = self.inputs.step
        if event.sources:
            return of_batch(step, "", event.sources[0])
        layer = event.layer
        place = f"output of {layer}" if layer else "training step"
        message = (
            f"NaN or Inf began in step {step}, in the forward pass, in the {place}: "
            f"{event.operation} of finite values gave {event.count} of {event.output.numel()}."
        )
        quantity = Quantity.ACTIVATION if layer else Quantity.LOSS
        return NonfiniteOrigin(
            step, layer, quantity, event.operation, event.count, message
        )

    def _of_backward(self, loss: Tensor) -> NonfiniteOrigin | None:
        params = [param for param in self.module.parameters() if param.requires_grad]
        if loss.grad_fn is None or not params:
            return None
        trace = BackwardTrace(self._calls, self._params)
        trace.attach(loss)
        torch.autograd.grad(loss.sum(), params, retain_graph=True, allow_unused=True)
        if trace.first is None:
            return None
        step = self.inputs.step
        name, layer, count = trace.first
        place = f"of {layer}" if layer else "of the training step"
        message = (
            f"NaN or Inf began in step {step}, in the backward pass {place}: "
            f"the derivative of {name} gave {count} values of finite gradients."
        )
        return NonfiniteOrigin(
            step, layer, Quantity.ACTIVATION_GRAD, name, count, message
        )


def copy_of(batch: Any) -> Any:
    """Returns a copy of a batch, for a step may change its batch, which the training's backward pass still needs."""
    try:
        return copy.deepcopy(batch)
    except Exception:  # raised by what cannot be copied, such as an open file
        return batch


def takes_number(training_step: Callable[..., Any]) -> bool:
    """True if a training step takes the number of the batch, under whatever name, as Lightning decides it."""
    parameters = inspect.signature(training_step).parameters.values()
    return len(parameters) > 1 or any(
        parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters
    )


class IdleOptimizer:
    """Stand-in for an optimizer that does not step."""

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer

    def step(self, closure: Callable[[], Any] | None = None, **_: Any) -> Any:
        """Calls the closure only."""
        return None if closure is None else closure()

    def zero_grad(self, *_: Any, **__: Any) -> None:
        """Does nothing."""

    @contextlib.contextmanager
    def toggle_model(self, *_: Any, **__: Any) -> Iterator[None]:
        """Does nothing."""
        yield

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)


def do_nothing(*_: Any, **__: Any) -> None:
    """Does nothing."""


@contextlib.contextmanager
def without_observers() -> Iterator[None]:
    """Runs a model without function modes, and compiled modules as they were written, from torch 2.6 on."""
    stance = getattr(torch.compiler, "set_stance", None)
    eager = contextlib.nullcontext() if stance is None else stance("force_eager")
    with eager, torch.enable_grad(), torch._C.DisableTorchFunction():
        yield


def remove_own_hooks(root: nn.Module) -> None:
    """Removes the hooks of a due step, which would measure the second run; `preserved` brings them back."""
    for module in root.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for number, hook in list(hooks.items()):
                if isinstance(hook, Hook):
                    del hooks[number]
