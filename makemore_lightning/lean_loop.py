"""What Lightning's loop costs on a step that takes half a millisecond, spared where that changes nothing.

benchmarks/README.md has the gain of each piece, measured. Remove a piece and training gives the same figures, later.
"""

import contextlib
import inspect
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.profilers import PassThroughProfiler
from torch.optim import Optimizer

_NOTHING = contextlib.nullcontext()


class SilentProfiler(PassThroughProfiler):
    """Records nothing, like Lightning's default, without building a context manager for every hook of every step."""

    def profile(self, action_name: str) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return _NOTHING


class LeanModule(LightningModule):
    """A LightningModule on which the loop's own bookkeeping is cheap."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # The loop asks at every batch whether training_step takes a batch_idx; this is where `inspect` looks first.
        if "training_step" in vars(cls):
            cls.training_step.__signature__ = inspect.signature(cls.training_step)  # type: ignore[attr-defined]

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets this string before and after every hook, and nn.Module searches each value for
        # parameters, modules and buffers.
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        # What zero_grad does, without opening a profiler's record.
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
