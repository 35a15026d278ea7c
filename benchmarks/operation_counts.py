"""Operations that a due step adds on the path of an accelerator, counted on the CPU.

On an accelerator the cost of a small operation is its launch, so their number is the cost. `simulated_device` makes the
callbacks take that path; PyTorch's dispatcher counts every operation but views, which launch nothing.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from lightning.pytorch import Callback, Trainer, seed_everything
from rich.table import Table
from torch.utils._python_dispatch import TorchDispatchMode
from ways import ALL
from workloads import WORKLOADS

from callbacks import GradStats
from callbacks.measure.placement import simulated_device

VIEWS = {
    *(
        "_reshape_alias",
        "_unsafe_view",
        "alias",
        "as_strided",
        "chunk",
        "detach",
        "expand",
        "lift_fresh",
        "movedim",
    ),
    *(
        "permute",
        "reshape",
        "select",
        "slice",
        "split",
        "split_with_sizes",
        "squeeze",
        "t",
        "transpose",
        "unbind",
    ),
    *("unsqueeze", "view", "view_as"),
}
"""Operations that only change how memory is read."""


class Operations(TorchDispatchMode):
    """Counts operations, views left out."""

    count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += func.overloadpacket.__name__ not in VIEWS
        return func(*args, **(kwargs or {}))


class CountingStats(GradStats):
    """GradStats that notes how many statistics all callbacks of its fit measured."""

    measured = 0

    def record(self, measurements: Any) -> Any:
        self.measured = len(measurements.results)
        return super().record(measurements)


def count_operations(workload: str, callbacks: Sequence[Callback]) -> int:
    """Returns the operations of the second step of a fit."""
    counts: list[int] = []

    class Noting(Callback):
        def on_train_batch_start(self, *_: Any, **__: Any) -> None:
            counts.append(mode.count)

    seed_everything(1, verbose=False)
    options: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
    }
    trainer = Trainer(
        accelerator="cpu",
        max_steps=3,
        enable_model_summary=False,
        callbacks=[Noting(), *callbacks],
        **options,
    )
    with Operations() as mode:
        trainer.fit(WORKLOADS[workload]())
    return [after - before for before, after in pairwise(counts)][1]


def operations_table(workloads: Sequence[str]) -> Table:
    """Counts the operations of bare and due steps of each workload."""
    table = Table(
        title="operations of a due step with all four callbacks, views left out"
    )
    for column in (
        "workload",
        "bare step",
        "added",
        "x bare",
        "statistics",
        "added a statistic",
    ):
        table.add_column(column, justify="left" if column == "workload" else "right")
    for workload in workloads:
        bare = count_operations(workload, [])
        counting = CountingStats(every_n_steps=1, figures=False)
        others = [
            kind(every_n_steps=1, figures=False)
            for kind in ALL
            if kind is not GradStats
        ]
        with simulated_device():
            added = count_operations(workload, [*others, counting]) - bare
        ratio, per_statistic = added / bare, added / counting.measured
        row = (
            str(bare),
            str(added),
            f"{ratio:.2f}",
            str(counting.measured),
            f"{per_statistic:.1f}",
        )
        table.add_row(workload, *row)
    return table
