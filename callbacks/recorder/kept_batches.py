"""The last batches of a training, as references, and the random states before them."""

from collections import deque
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..probe.counters import Counters
from ..probe.layer_hooks import all_tensors
from ..probe.nonfinite_rerun import StepInputs
from ..probe.preserved_state import random_state


@dataclass(frozen=True)
class KeptBatch:
    """A batch of a step.

    Attributes:
        inputs: Step, batch, number of the batch in the epoch, random state and counts.
        epoch: Epoch.
        global_step: Steps of optimizers before it.
        versions: How often each of its tensors had been changed in place.
    """

    inputs: StepInputs
    epoch: int
    global_step: int
    versions: tuple[int, ...]

    @property
    def is_changed(self) -> bool:
        """True if the training step has changed the batch in place since."""
        return self.versions != versions_of(self.inputs.batch)


class KeptBatches:
    """References to the last batches; nothing is copied but random states.

    Args:
        root: The model, whose counts of calls and the like are part of a step's inputs.
        most: Batches that are kept.
    """

    def __init__(self, root: nn.Module, most: int) -> None:
        self._counters = Counters(root)
        self.batches: deque[KeptBatch] = deque(maxlen=most)

    def add(
        self, step: int, batch: Any, batch_idx: int, epoch: int, global_step: int
    ) -> None:
        """Keeps a batch that a training step is about to be computed of."""
        state, counts = random_state(), self._counters.read()
        inputs = StepInputs(step, batch, batch_idx, state, counts)
        versions = versions_of(batch)
        self.batches.append(KeptBatch(inputs, epoch, global_step, versions))

    def of_steps(self, first: int, last: int) -> list[KeptBatch]:
        """Returns the batches of some steps, both ends among them."""
        return [each for each in self.batches if first <= each.inputs.step <= last]


def versions_of(batch: Any) -> tuple[int, ...]:
    """Returns how often each tensor of a batch has been changed in place."""
    tensors = [tensor for _, tensor in all_tensors(batch)]
    return tuple(each._version for each in tensors if not each.is_inference())
