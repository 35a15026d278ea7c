"""Cost of observing a training: the callbacks of this project and other ways, in one run.

    python benchmarks/overhead.py                           all workloads, more than half an hour on one thread
    python benchmarks/overhead.py --workloads mlp --rounds 1 --steps 3        to see that it works
    python benchmarks/overhead.py --operations              operations of a due step on an accelerator's path

Every way observes every step, so that its cost stands out of the noise; what one due step in a hundred adds, as by the
default cadence, follows from that and is marked as computed. "Not due" are ours where no step after the first is due.
Ways are interleaved, round by round; a number is the median over rounds of the median over steps, the first step of a
fit, which warms up, left out.

Memory is the peak of a process of its own (its resident set, Linux only; on a GPU, the most that PyTorch ever
allocated). Host syncs, the number of times that a step waits for the device, are counted only on a GPU.
"""

import argparse
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from operation_counts import operations_table
from rich.console import Console
from rich.table import Table
from ways import WAYS
from workloads import WORKLOADS

CADENCE = 100


class Clock(Callback):
    """Times the beginnings of batches: all of a step is between one and the next."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter() * 1e3)

    @property
    def steps(self) -> list[float]:
        """Milliseconds of each step but the first, which warms up, and the last."""
        return [after - before for before, after in pairwise(self.times[1:])]


@dataclass
class Cost:
    """Cost of one way on one workload."""

    milliseconds: list[float] = field(default_factory=list)
    record_bytes: float = 0.0
    megabytes: float = 0.0
    syncs: float = 0.0

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)


def measure(workload: str, way: str, steps: int) -> tuple[float, float]:
    """Fits once; returns the median milliseconds of a step, and the bytes written a step."""
    seed_everything(1, verbose=False)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cuda" if torch.cuda.is_available() else "cpu",
            max_steps=steps + 2,
            default_root_dir=folder,
            logger=TensorBoardLogger(folder, default_hp_metric=False),
            callbacks=[clock, *WAYS[way]()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(WORKLOADS[workload]())
        written = sum(file.stat().st_size for file in Path(folder).rglob("*tfevents*"))
    return statistics.median(clock.steps), written / (steps + 2)


def fit_apart(workload: str, way: str) -> tuple[float, float]:
    """Fits in a process of its own; returns its peak memory in MB, and the waits for a GPU a step."""
    command = [sys.executable, __file__, "--fit", workload, way]
    megabytes, syncs = subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout.split()[-2:]
    return float(megabytes), float(syncs)


def fit_and_print(workload: str, way: str, steps: int = 4) -> None:
    """Fits once in this process, and prints what `fit_apart` returns."""
    if not torch.cuda.is_available():
        measure(workload, way, steps)
        # `getrusage` begins with the memory of the process that started this one.
        status = Path("/proc/self/status").read_text()
        print(int(status.split("VmHWM:")[1].split()[0]) / 1024, 0)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        measure(workload, way, steps)
        torch.cuda.set_sync_debug_mode("default")
    waits = [
        warning
        for warning in caught
        if "synchronizing CUDA operation" in str(warning.message)
    ]
    print(torch.cuda.max_memory_allocated() / 2**20, len(waits) / (steps + 2))


def table(workload: str, costs: dict[str, Cost], steps: int) -> Table:
    bare = costs["bare"]
    columns = Table(title=f"{workload}, {steps} steps a round, every step due")
    for column in (
        "way",
        "ms a step",
        "x bare",
        "ms added",
        "1 in 100, x bare",
        "kB a record",
        "MB added",
        "syncs",
    ):
        columns.add_column(column, justify="left" if column == "way" else "right")
    for way, cost in costs.items():
        added = cost.median - bare.median
        ratios = (
            f"{cost.median / bare.median:.3f}",
            f"{added:.2f}",
            f"{1 + added / bare.median / CADENCE:.4f}",
        )
        record = f"{(cost.record_bytes - bare.record_bytes) / 1e3:.1f}"
        syncs = (
            f"{cost.syncs - bare.syncs:.1f}" if torch.cuda.is_available() else "none"
        )
        memory = f"{cost.megabytes - bare.megabytes:.0f}"
        columns.add_row(way, f"{cost.median:.2f}", *ratios, record, memory, syncs)
    return columns


def compare(workload: str, ways: list[str], rounds: int, steps: int) -> Table:
    """Runs every way once a round, so that a slow moment of the machine falls on all of them."""
    costs = {way: Cost() for way in ("bare", *(way for way in ways if way != "bare"))}
    for _ in range(rounds):
        for way, cost in costs.items():
            milliseconds, cost.record_bytes = measure(workload, way, steps)
            cost.milliseconds.append(milliseconds)
    for way, cost in costs.items():
        cost.megabytes, cost.syncs = fit_apart(workload, way)
    return table(workload, costs, steps)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS)
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--steps",
        type=int,
        help="a fit (default: 200 of the small networks, 3 of the large)",
    )
    parser.add_argument(
        "--operations",
        action="store_true",
        help="count operations, and measure no time",
    )
    parser.add_argument("--fit", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["WANDB_SILENT"] = "true"
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    if arguments.fit:
        fit_and_print(*arguments.fit)
        return
    if arguments.operations:
        Console(width=110).print(operations_table(arguments.workloads))
        return
    for workload in arguments.workloads:
        steps = arguments.steps or (200 if workload in ("mlp", "deep_batchnorm") else 3)
        Console(width=110).print(
            compare(workload, arguments.ways, arguments.rounds, steps)
        )


if __name__ == "__main__":
    main()
