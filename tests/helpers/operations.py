"""Counts of the operations that PyTorch dispatches: what costs time on an accelerator, also where there is none."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

from fits import fit
from lightning.pytorch import Callback, LightningModule
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from callbacks.measure import placement

WAITS = {
    "_local_scalar_dense",
    "item",
    "nonzero",
    "bincount",
    "masked_select",
    "unique_dim",
    "_unique2",
    "equal",
}
"""Dispatched operations whose result the host needs before it can go on."""

READS = {
    "item",
    "tolist",
    "numpy",
    "cpu",
    "__bool__",
    "__int__",
    "__float__",
    "__index__",
    "__complex__",
    "__array__",
}
"""Methods of a tensor that wait for its device. On a CPU tensor most of them dispatch nothing."""

VIEWS = {
    *(
        "detach",
        "view",
        "_unsafe_view",
        "expand",
        "as_strided",
        "slice",
        "select",
        "split",
        "split_with_sizes",
        "t",
    ),
    *(
        "permute",
        "transpose",
        "unsqueeze",
        "squeeze",
        "alias",
        "unbind",
        "_reshape_alias",
        "diagonal",
        "lift_fresh",
    ),
}
"""Operations that launch no kernel."""


class Operations(TorchDispatchMode):
    """Notes the names of all dispatched operations.

    Attributes:
        names: Names in the order of the calls.
        paused: Whether operations are left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.paused = False

    @property
    def kernels(self) -> list[str]:
        """Names of the operations that are no views."""
        return [name for name in self.names if name not in VIEWS]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if not self.paused:
            self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def noted_reads(operations: Operations, names: list[str]) -> Iterator[None]:
    """Notes the names of the methods that read a tensor on the host, in the same places as operations.

    Not by a `TorchFunctionMode`, which the instruments turn off while they measure.
    """

    def noted(name: str) -> Callable[..., Any]:
        method = getattr(Tensor, name)

        def read(*args: Any, **kwargs: Any) -> Any:
            if not operations.paused:
                names.append(name)
            return method(*args, **kwargs)

        return read

    with contextlib.ExitStack() as patches:
        for name in READS:
            patches.enter_context(mock.patch.object(Tensor, name, noted(name)))
        yield


class StepCounts(Callback):
    """Counts operations, waits and transfers of each batch of a fit.

    Give `begin` before the instruments and this callback after them. Operations count from the begin of a batch to its
    end, without those that come after a transfer: numbers are on the CPU by then.

    Attributes:
        kernels: Operations that are no views, by batch.
        waits: What the host waited for, by batch.
        transfers: Number of copies to the CPU, by batch.
    """

    def __init__(self) -> None:
        self.kernels: list[list[str]] = []
        self.waits: list[list[str]] = []
        self.transfers: list[int] = []
        self._operations = Operations()
        self._reads: list[str] = []
        self._copies = 0
        self._operations.paused = True

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Counts what happens inside."""
        transfer = placement.transfer

        def counted(packed: Tensor) -> Tensor:
            self._copies += 1
            self._operations.paused = True
            return transfer(packed)

        reads = noted_reads(self._operations, self._reads)
        with mock.patch.object(placement, "transfer", counted), reads, self._operations:
            yield

    @property
    def begin(self) -> Callback:
        """Callback that has to come before the instruments."""
        counts = self

        class Begin(Callback):
            def on_train_batch_start(self, *_: Any, **__: Any) -> None:
                counts._operations.names.clear()
                counts._reads.clear()
                counts._copies = 0
                counts._operations.paused = False

        return Begin()

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self._operations.paused = True
        self.kernels.append(self._operations.kernels)
        self.waits.append(
            [name for name in self._operations.names if name in WAITS] + self._reads
        )
        self.transfers.append(self._copies)


def count_steps(
    make: Callable[[], LightningModule], instruments: Sequence[Callback], **options: Any
) -> StepCounts:
    """Fits a model with instruments, all tensors treated as if on an accelerator, and counts what its batches cost."""
    counts = StepCounts()
    with placement.simulated_device(), counts.counting():
        fit(make, [counts.begin, *instruments, counts], **options)
    return counts


def added_kernels(
    make: Callable[[], LightningModule], instruments: Sequence[Callback], **options: Any
) -> list[int]:
    """Returns by how many operations, views left out, each batch costs more with instruments than without."""
    observed, bare = (
        count_steps(make, instruments, **options),
        count_steps(make, [], **options),
    )
    return [
        len(more) - len(few)
        for more, few in zip(observed.kernels, bare.kernels, strict=True)
    ]
