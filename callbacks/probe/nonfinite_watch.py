"""Watch over every step for NaN and infinities, which costs next to nothing while there are none."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from .._lightning import LightningModule, Trainer
from ..measure.placement import are_readable, is_readable
from .counters import Counters
from .distributed import own_values
from .gradient_scale import GradientScale
from .length import step_of
from .nonfinite_origin import NonfiniteOrigin
from .nonfinite_rerun import StepInputs, find_origin
from .request import Quantity

foreach_norm: Any = torch._foreach_norm  # type: ignore[attr-defined]  what clip_grad_norm_ calls
"""Norms of many tensors by few kernels; PyTorch has no public function for it before 2.6."""

MOST_PENDING = 4
"""Steps whose answer from a device may be awaited; their batches stay in memory."""


class Pending(NamedTuple):
    """Flag that is on its way from a device."""

    inputs: StepInputs
    flag: Tensor
    """`()` True if something is not finite, on the CPU once `event` has happened."""
    event: Any


class NonfiniteWatch:
    """Checks the loss and the gradients of every step, and finds where NaN or infinities began.

    On the CPU both are read before the parameters move, so that the step can be run again as it was. On a device
    nothing waits: the answer comes some steps later, when parameters may be spoiled; then the step and the loss are
    told, and the batch or a parameter where these are not finite. Each rank watches for itself; nothing is sent to
    others.

    While a gradient scaler is in use, only NaN in the loss is looked for: infinities are how it finds its scale.

    Args:
        trainer: The Trainer.
        module: Its LightningModule.
    """

    def __init__(self, trainer: Trainer, module: LightningModule) -> None:
        self._trainer: Trainer | None = trainer
        self._module: LightningModule | None = module
        self._has_scaler = GradientScale.of(trainer).scaler is not None
        self._counters = Counters(module)
        self._inputs: StepInputs | None = None
        self._pending: deque[Pending] = deque(maxlen=MOST_PENDING)
        self._is_over = False

    def begin_batch(self, batch: Any, batch_idx: int) -> None:
        """Keeps references to what a step is computed from."""
        if self._is_over or self._trainer is None:
            return
        state = {"torch": torch.get_rng_state()}
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            state["cuda"] = torch.cuda.get_rng_state_all()  # type: ignore[assignment]
        step, counts = step_of(self._trainer), self._counters.read()
        self._inputs = StepInputs(step, batch, batch_idx, state, counts)

    def before_backward(self, loss: Tensor) -> NonfiniteOrigin | None:
        """Checks a loss."""
        if self._is_over or self._inputs is None:
            return None
        loss = loss.detach()
        if self._has_scaler:  # which may have made it infinite
            loss = loss.nan_to_num(nan=math.nan)
        return self._check([loss])

    def before_optimizer_step(self, optimizer: Optimizer) -> NonfiniteOrigin | None:
        """Checks the gradients of an optimizer's parameters."""
        if self._is_over or self._inputs is None or self._has_scaler:
            return None
        gradients = [
            own_values(param.grad)
            for group in optimizer.param_groups
            for param in group["params"]
            if param.grad is not None and param.grad.layout == torch.strided
        ]
        if not gradients or self._are_finite(gradients):
            return None
        return self._check(largest_of(gradients))

    def end_batch(self) -> NonfiniteOrigin | None:
        """Checks the flags that have come from a device."""
        while self._pending and not self._is_over:
            oldest = self._pending[0]
            is_there = oldest.event is not None and oldest.event.query()
            if not is_there and len(self._pending) < MOST_PENDING:
                return None
            self._pending.popleft()
            if bool(oldest.flag):
                return self._trip(oldest.inputs)
        return None

    def close(self) -> None:
        """Keeps nothing alive; may be called any number of times."""
        self._is_over = True
        self._trainer = self._module = self._inputs = None
        self._pending.clear()

    def _check(self, numbers: Sequence[Tensor]) -> NonfiniteOrigin | None:
        assert self._inputs is not None
        if all(map(is_readable, numbers)):
            if all(
                math.isfinite(number) for each in numbers for number in as_floats(each)
            ):
                return None
            return self._trip(self._inputs)
        flags = [~torch.isfinite(number).all() for number in numbers]
        self._send(torch.stack(flags).any() if len(flags) > 1 else flags[0])
        return None

    def _are_finite(self, gradients: Sequence[Tensor]) -> bool:
        """True if the norms of gradients on the CPU are finite: forty times faster there than their largest values.

        The norm of finite gradients can overflow, so that an infinite one proves nothing.
        """
        if not are_readable(gradients):
            return False
        with torch.no_grad():
            norms = foreach_norm(gradients)
        return all(math.isfinite(norm.item()) for norm in norms)

    def _send(self, flag: Tensor) -> None:
        """Begins to copy a flag to the CPU."""
        assert self._inputs is not None
        event = None
        if flag.device.type == "cuda":
            host = torch.empty((), dtype=torch.bool, pin_memory=True)
            flag = host.copy_(flag, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self._pending.append(Pending(self._inputs, flag, event))

    def _trip(self, inputs: StepInputs) -> NonfiniteOrigin:
        """Finds the origin, once a fit: after it everything is NaN."""
        assert self._trainer is not None
        assert self._module is not None
        trainer, module = self._trainer, self._module
        origin, reason = None, "it did not come again when the step was run again"
        try:
            origin = find_origin(trainer, module, inputs)
        except Exception as error:
            reason = (
                f"the step could not be run again ({type(error).__name__}: {error})"
            )
        self.close()
        return origin or unknown(inputs.step, reason)


def unknown(step: int, reason: str) -> NonfiniteOrigin:
    """Returns the origin of NaN or infinities of which only the step is known."""
    message = f"NaN or Inf in the loss or a gradient of step {step}; {reason}."
    return NonfiniteOrigin(step, "", Quantity.LOSS, "", 1, message)


def largest_of(gradients: list[Tensor]) -> list[Tensor]:
    """Returns the largest magnitude of each gradient, by one call for all of a device; NaN where there is any."""
    by_device: dict[torch.device, list[Tensor]] = {}
    for gradient in gradients:
        if gradient.numel():
            by_device.setdefault(gradient.device, []).append(gradient.detach())
    largest: list[Tensor] = []
    for group in by_device.values():
        norms = foreach_norm(group, math.inf)
        largest.append(torch.stack([norm.float() for norm in norms]))
    return largest


def as_floats(numbers: Tensor) -> list[float]:
    """Returns the numbers of a CPU tensor."""
    return numbers.reshape(-1).tolist()
