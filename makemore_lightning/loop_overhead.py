"""Shortcuts that reduce the per-step overhead of Lightning's loop, which exceeds the step itself on a small network.

benchmarks/README.md lists the measured gain of each. Removing one changes the speed of training and not its result.
"""

import contextlib
import inspect
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.profilers import PassThroughProfiler
from torch.optim import Optimizer

_NULL_CONTEXT = contextlib.nullcontext()


class NullProfiler(PassThroughProfiler):
    """Profiler that records nothing and reuses one context manager, where Lightning's default builds one per hook."""

    def profile(self, action_name: str) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return _NULL_CONTEXT


PLAIN_ATTRIBUTES = {"_current_fx_name", "_latest_batch"}
"""Attributes that are set at every step, and are no parameter, module or buffer."""


class LowOverheadModule(LightningModule):
    """LightningModule with cheaper bookkeeping in the training loop."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # The loop inspects the signature of training_step at every batch; `inspect` reads this attribute first.
        if "training_step" in vars(cls):
            cls.training_step.__signature__ = inspect.signature(cls.training_step)  # type: ignore[attr-defined]

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets _current_fx_name before and after every hook, and nn.Module.__setattr__ tests each value for
        # being a parameter, module or buffer.
        if name in PLAIN_ATTRIBUTES:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def optimizer_zero_grad(
        self, epoch: int, batch_idx: int, optimizer: Optimizer
    ) -> None:
        # Optimizer.zero_grad would open a profiler record.
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
