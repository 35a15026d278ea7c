"""Growth of the cost of a due step with the network, and the cost of one tensor.

    python benchmarks/growth.py                     the tables, about four minutes on one thread
    python benchmarks/growth.py --rounds 1 --steps 1 --networks "layers x 2"      to see that it works

Growth: all four callbacks at every step, without pictures, on a stack of tanh layers; rows are interleaved, and a
number is the median over rounds of the median over steps, less that of the bare fit of the same network.

One tensor: ten million floats of a normal distribution, medians, beside one pass that reads them.
"""

import argparse
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from overhead import measure
from rich.console import Console
from rich.table import Table
from torch import nn
from workloads import WORKLOADS, Workload

from callbacks import Histogram
from callbacks.measure.moments import Moments
from callbacks.measure.saturation import FlatRegion, count_saturated

BASE = {"layers": 10, "width": 128, "batch": 64}
STACKS: dict[str, dict[str, int]] = {
    "10 layers of 128, batch 64": BASE,
    "layers x 2": BASE | {"layers": 20},
    "parameters x 4 (width x 2)": BASE | {"width": 256},
    "batch x 2": BASE | {"batch": 128},
    "100 layers": BASE | {"layers": 100},
    "1000 layers": BASE | {"layers": 1000},
}


def stack(layers: int, width: int, batch: int) -> Workload:
    """A network of tanh layers, and a batch for it."""
    blocks = [
        part for _ in range(layers) for part in (nn.Linear(width, width), nn.Tanh())
    ]
    net = nn.Sequential(*blocks, nn.Linear(width, 10))
    return Workload(
        net, lambda: (torch.randn(batch, width), torch.randint(10, (batch,)))
    )


def growth(networks: list[str], rounds: int, steps: int) -> Table:
    """Measures what a due step of each network costs, also in units of the first's."""
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name in networks:
            WORKLOADS[name] = partial(stack, **STACKS[name])
            for way in ("bare", "ours, all four"):
                times.setdefault((name, way), []).append(measure(name, way, steps)[0])
    table = Table(
        "network",
        "ms a step, bare",
        "ms added",
        "x first",
        "ms a layer",
        title="growth",
    )
    added: dict[str, float] = {}
    for name in networks:
        bare = statistics.median(times[name, "bare"])
        added[name] = statistics.median(times[name, "ours, all four"]) - bare
        ratio = added[name] / next(iter(added.values()))
        a_layer = added[name] / STACKS[name]["layers"]
        table.add_row(
            name, f"{bare:.1f}", f"{added[name]:.1f}", f"{ratio:.2f}", f"{a_layer:.2f}"
        )
    return table


def one_tensor(rounds: int) -> Table:
    """Measures what the statistics of ten million floats cost."""
    values = torch.randn(5_000, 2_000)
    ways: dict[str, Callable[[], Any]] = {
        "x.sum()": values.sum,
        "moments": lambda: Moments.of(values),
        "moments and histogram": lambda: Histogram.of(values),
        "saturation": lambda: count_saturated(
            values, FlatRegion(lambda h: h.abs() > 0.99), keep_map=False
        ),
        "add_histogram's counts (NumPy)": lambda: np.histogram(
            values.numpy(), default_bins()
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(1 + 2 * rounds):  # the first warms up
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            times[name].append((time.perf_counter() - began) * 1e3)
    table = Table("of 10 M floats", "ms", "x x.sum()", title="one tensor")
    for name, durations in times.items():
        taken = statistics.median(durations[1:])
        table.add_row(
            name,
            f"{taken:.1f}",
            f"{taken / statistics.median(times['x.sum()'][1:]):.1f}",
        )
    return table


def default_bins() -> list[float]:
    """Returns the edges of TensorBoard's histograms by its documentation: each a tenth further out than the last."""
    positive = [1e-12 * 1.1**power for power in range(774)]
    return [*(-edge for edge in reversed(positive)), 0.0, *positive]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--networks", nargs="+", choices=STACKS, default=list(STACKS))
    arguments: Any = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    console = Console(width=110)
    console.print(one_tensor(arguments.rounds))
    console.print(growth(arguments.networks, arguments.rounds, arguments.steps))


if __name__ == "__main__":
    main()
