"""Coordinates: mean absolute values of the outputs of layers in each step of a trial on one batch."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .._lightning import Callback, extend_bases
from ..probe.layer_hooks import floating_tensors
from ..probe.length import step_of
from .layer_table import observed_layers


class Coordinates(Callback):
    """Collects the scale of each layer's output, and of its change since the first step.

    Attributes:
        scales: Mean absolute value by layer, of each step; over all calls of a step.
        updates: Mean absolute change of the first call since step 0, of each step after it.
    """

    def __init__(self) -> None:
        extend_bases()
        super().__init__()
        self.scales: dict[str, list[float]] = {}
        self.updates: dict[str, list[float]] = {}
        self._first: dict[str, Tensor] = {}
        self._sums: dict[str, tuple[float, int]] = {}
        self._handles: list[Any] = []

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        step = step_of(trainer)
        for name, layer in observed_layers(pl_module).items():
            hook = _Observe(self, name, step)
            self._handles.append(layer.register_forward_hook(hook))

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._detach()
        for name, (total, count) in self._sums.items():
            self.scales.setdefault(name, []).append(total / count)
        self._sums.clear()

    def on_exception(self, trainer: Any, pl_module: Any, exception: Any) -> None:
        self._detach()

    def observe(self, name: str, step: int, values: Tensor) -> None:
        """Adds the output of one call of a layer."""
        values = values.detach().float()
        is_first_call = name not in self._sums
        total, count = self._sums.get(name, (0.0, 0))
        magnitude = float(values.abs().sum())
        self._sums[name] = total + magnitude, count + values.numel()
        if not is_first_call:
            return
        if step == 0:
            self._first[name] = values.clone()
        before = self._first.get(name)
        if step > 0 and before is not None and before.shape == values.shape:
            change = float((values - before).abs().mean())
            self.updates.setdefault(name, []).append(change)

    def _detach(self) -> None:
        while self._handles:
            self._handles.pop().remove()


class _Observe:
    """Forward hook of one layer in one step."""

    def __init__(self, coordinates: Coordinates, name: str, step: int) -> None:
        self.coordinates, self.name, self.step = coordinates, name, step

    def __call__(self, layer: nn.Module, arguments: Any, output: Any) -> None:
        if torch.is_grad_enabled():
            for path, values in floating_tensors(output):
                if values.numel():
                    self.coordinates.observe(self.name + path, self.step, values)


class FixedBatch:
    """Dataloader that returns the first batch of another one, again and again.

    Args:
        loader: Dataloader.
        batches: The batch, once it is drawn; trials that share it share the batch.
    """

    def __init__(self, loader: Any, batches: list[Any]) -> None:
        self.loader, self.batches = loader, batches

    def __iter__(self) -> Iterator[Any]:
        if not self.batches:
            self.batches.append(next(iter(self.loader)))
        try:
            length = len(self.loader)
        except (TypeError, NotImplementedError):
            while True:
                yield self.batches[0]
        for _ in range(length):
            yield self.batches[0]

    def __len__(self) -> int:
        return len(self.loader)
