"""Loss and gradient norm of each step, judged as soon as they can be read without waiting for a device."""

import math
from collections import deque
from collections.abc import Sequence
from copy import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..measure.placement import is_readable
from .jump import JumpRule
from .trigger import Trigger

MOST_PENDING = 4
"""Steps whose numbers a device may still be computing; their batches stay in memory."""


class Pending(NamedTuple):
    """Numbers that are on their way from a device."""

    step: int
    name: str
    source: int
    numbers: Tensor
    """`(n,)` on the CPU once `event` has happened."""
    event: Any


class WatchedNumbers:
    """Judges losses and gradient norms.

    On the CPU a number is judged at once, before the parameters move. On a device nothing waits: the answer comes some
    steps later.

    Args:
        rules: Rule for a jump, by the name of the number: "loss" and "gradient norm"; each source has one of its own.
        has_scaler: Whether a gradient scaler is in use, which finds its scale by gradients that are not finite.
    """

    def __init__(self, rules: dict[str, JumpRule], has_scaler: bool) -> None:
        self._rules_by_name, self._has_scaler = rules, has_scaler
        self._rules: dict[tuple[str, int], JumpRule] = {}
        self._pending: deque[Pending] = deque()
        self._last_bad: int | None = None
        """Last step with NaN or infinities, which spread to all later steps."""

    def add(
        self, step: int, name: str, numbers: Tensor, source: int = 0
    ) -> Trigger | None:
        """Judges a number, or begins to copy it from its device.

        Args:
            step: Step on the axis of all plots.
            name: "loss" or "gradient norm".
            numbers: `()` a loss, or `(n,)` norms of the parts.
            source: Optimizer, or place among the losses of a batch: those of a GAN differ in size.
        """
        numbers = numbers.detach().reshape(-1)
        if is_readable(numbers):
            return self._judge(step, name, source, numbers.tolist())
        self._send(step, name, source, numbers)
        return None

    def read_pending(self, wait: bool = False) -> Trigger | None:
        """Judges the numbers that have come from a device, up to the first that is a reason for a bundle.

        Args:
            wait: Whether to wait for all of them, as at the end of training.
        """
        while self._pending:
            oldest = self._pending[0]
            is_there = oldest.event is not None and oldest.event.query()
            is_young = self._pending[-1].step - oldest.step < MOST_PENDING
            if not is_there and is_young and not wait:
                return None
            if not is_there and oldest.event is not None:
                oldest.event.synchronize()
            self._pending.popleft()
            trigger = self._judge(
                oldest.step, oldest.name, oldest.source, oldest.numbers.tolist()
            )
            if trigger is not None:
                return trigger
        return None

    def goes_on(self, step: int) -> bool:
        """True if NaN or infinities of a step are those of the step before, or have been seen in it."""
        return self._last_bad is not None and step <= self._last_bad + 1

    def _send(self, step: int, name: str, source: int, numbers: Tensor) -> None:
        event = None
        if numbers.device.type == "cuda":
            host = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            numbers = host.copy_(numbers, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self._pending.append(Pending(step, name, source, numbers, event))

    def _judge(
        self, step: int, name: str, source: int, parts: Sequence[float]
    ) -> Trigger | None:
        value = parts[0] if len(parts) == 1 else math.hypot(*parts)
        if not all(map(math.isfinite, parts)):
            return self._of_nonfinite(step, name)
        rule = self._rules.setdefault((name, source), copy(self._rules_by_name[name]))
        if not rule.judge(value):
            return None
        message = f"The {name} jumped in step {step}: {value:.4g} after a running mean of {rule.mean:.4g}."
        rule.reset()
        return Trigger("jump", step, message)

    def _of_nonfinite(self, step: int, name: str) -> Trigger | None:
        if self._has_scaler and name != "loss":
            return None
        goes_on, self._last_bad = self.goes_on(step), step
        if goes_on:
            return None
        return Trigger("nonfinite", step, f"NaN or Inf in the {name} of step {step}.")
