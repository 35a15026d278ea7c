"""What it costs to look at a training: our instruments and other ways, in one run.

    python benchmarks/overhead.py                           all workloads, about fifteen minutes on one thread
    python benchmarks/overhead.py --workloads mlp --rounds 1 --steps 3        to see that it works

Every way looks at every step, so that its cost stands out of the noise; what it costs at our default cadence, one step
in a hundred, follows from that and is told as computed. Ways are interleaved, round by round; a figure is the median
over rounds of the median over steps, the first step of a fit, which warms up, left out.
"""

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from callbacks import ActivationHistogram, GradStats, SaturationMap, UpdateRatio  # noqa: E402
from makemore_lightning import MLP  # noqa: E402

CADENCE = 100


# Workloads.


class Workload(LightningModule):
    """A network, a loss, and batches without end."""

    def __init__(self, net: nn.Module, batch: Callable[[], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.net, self.batch = net, batch

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self.net(x).flatten(0, -2), y.flatten())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader([self.batch()] * 1000, batch_size=None)  # type: ignore[arg-type]


class Residual(nn.Module):
    """A ResNet's basic block."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.norm2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.relu1, self.relu2 = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
        same = stride == 1 and before == after
        self.skip = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        h += self.skip(x)
        return self.relu2(h)


def resnet18() -> nn.Module:
    """18 layers, 11 M parameters, for images of 32 x 32."""
    blocks: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    width = 64
    for stage in range(4):
        for block in range(2):
            blocks.append(Residual(width, 64 * 2**stage, 2 if stage and not block else 1))
            width = 64 * 2**stage
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


class GPTBlock(nn.Module):
    """Attention and an MLP, each behind a norm and beside a residual path."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (h.unflatten(-1, (self.heads, -1)).transpose(1, 2) for h in self.qkv(self.norm1(x)).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """10 M parameters over bytes."""

    def __init__(self, width: int = 384, layers: int = 6, length: int = 128) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(256, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(GPTBlock(width, 6) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 256, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.tokens(ids) + self.places.weight[: ids.shape[1]])))


def ids(high: int, *shape: int) -> Tensor:
    return torch.randint(high, shape)


DEEP: dict[str, Any] = {"hidden_sizes": [100] * 5, "batchnorm": True, "head_batchnorm": True}
WORKLOADS: dict[str, Callable[[], Workload]] = {
    "mlp": lambda: Workload(MLP(27, 3), lambda: (ids(27, 32, 3), ids(27, 32))),
    "deep_batchnorm": lambda: Workload(MLP(27, 3, **DEEP), lambda: (ids(27, 32, 3), ids(27, 32))),
    "resnet18": lambda: Workload(resnet18(), lambda: (torch.randn(64, 3, 32, 32), ids(10, 64))),
    "gpt10m": lambda: Workload(GPT(), lambda: (ids(256, 8, 128), ids(256, 8, 128))),
}


# Ways of looking.


class Peer(Callback):
    """Another way, at the same layers and parameters as ours by default."""

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        ours = ActivationHistogram()
        ours.on_fit_start(trainer, pl_module)
        self.outputs: dict[str, Tensor] = {}
        self.handles = [layer.register_forward_hook(self.keep(name)) for name, layer in ours._layers.items()]
        self.params = {name: p for name, p in pl_module.named_parameters() if p.ndim >= 2}

    def keep(self, name: str) -> Callable[..., None]:
        def hook(_layer: nn.Module, _given: Any, output: Tensor) -> None:
            output.retain_grad()
            self.outputs[name] = output

        return hook

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        for handle in self.handles:
            handle.remove()

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Outputs, their gradients, parameters and theirs."""
        for name, output in self.outputs.items():
            yield f"activation/{name}", output.detach()
            if output.grad is not None:
                yield f"activation_grad/{name}", output.grad
        for name, param in self.params.items():
            yield f"weight/{name}", param.detach()
            if param.grad is not None:
                yield f"weight_grad/{name}", param.grad


class Bolts(Peer):
    """What pl_bolts' ModuleDataMonitor does: whole tensors through `SummaryWriter.add_histogram`."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
        for tag, tensor in self.tensors():
            trainer.logger.experiment.add_histogram(tag, tensor, trainer.global_step)  # type: ignore[union-attr]


class Lecture(Peer):
    """The lecture's own way: numbers by `.item()`, curves by matplotlib."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
        figure = Figure()
        axes = figure.add_subplot()
        legend = []
        for tag, tensor in self.tensors():
            legend.append(f"{tag} {tensor.mean().item():.2f} {tensor.std().item():.2f}")
            legend[-1] += f" {(tensor.abs() > 0.97).float().mean().item():.2f}"
            density, edges = torch.histogram(tensor.float().flatten(), bins=100, density=True)
            axes.plot(edges[:-1].tolist(), density.tolist())
        axes.legend(legend)
        FigureCanvasAgg(figure).draw()


class WandbWatch(Callback):
    """`wandb.watch(log="all")`, offline."""

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        import wandb

        self.run = wandb.init(mode="offline", dir=trainer.default_root_dir, settings=wandb.Settings(silent=True))
        self.run.watch(pl_module.net, log="all", log_freq=1)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
        self.run.log({"step": trainer.global_step})

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.run.unwatch(pl_module.net)
        self.run.finish()


def ours(*kinds: Any) -> Callable[[], list[Callback]]:
    """Our instruments at every step; pictures, which come less and less often, are told apart."""
    return lambda: [kind(every_n_steps=1, figures=False) for kind in kinds]


WAYS: dict[str, Callable[[], list[Callback]]] = {
    "bare": list,
    "ours, all four": ours(ActivationHistogram, GradStats, UpdateRatio, SaturationMap),
    "ActivationHistogram": ours(ActivationHistogram),
    "GradStats": ours(GradStats),
    "UpdateRatio": ours(UpdateRatio),
    "SaturationMap": ours(SaturationMap),
    "add_histogram (bolts)": lambda: [Bolts()],
    "wandb.watch": lambda: [WandbWatch()],
    "the lecture's way": lambda: [Lecture()],
}


# Measuring.


class Clock(Callback):
    """Milliseconds of each step, all callbacks between its two ends included."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def start(self) -> None:
        self.began = time.perf_counter()

    def stop(self) -> None:
        self.steps.append((time.perf_counter() - self.began) * 1e3)


class First(Callback):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        self.clock.start()


class Last(First):
    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        pass

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self.clock.stop()


@dataclass
class Cost:
    """What one way costs on one workload."""

    milliseconds: list[float] = field(default_factory=list)
    record_bytes: float = 0.0

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
            max_steps=steps + 1,
            default_root_dir=folder,
            logger=TensorBoardLogger(folder, default_hp_metric=False),
            callbacks=[First(clock), *WAYS[way](), Last(clock)],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(WORKLOADS[workload]())
        written = sum(file.stat().st_size for file in Path(folder).rglob("*tfevents*"))
    return statistics.median(clock.steps[1:]), written / (steps + 1)


def table(workload: str, costs: dict[str, Cost], steps: int) -> Table:
    bare = costs["bare"].median
    title = f"{workload}, {steps} steps a round"
    found = Table("way", "ms a step", "x bare", "ms added", "1 in 100, x bare (computed)", "kB a record", title=title)
    for way, cost in costs.items():
        added = cost.median - bare
        record = f"{(cost.record_bytes - costs['bare'].record_bytes) / 1e3:.1f}"
        ratios = f"{cost.median / bare:.3f}", f"{added:.2f}", f"{1 + added / bare / CADENCE:.4f}"
        found.add_row(way, f"{cost.median:.2f}", *ratios, record)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="a fit (default: 200 of the small networks, 3 of the large)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["WANDB_SILENT"] = "true"
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    for workload in given.workloads:
        steps = given.steps or (200 if workload in ("mlp", "deep_batchnorm") else 3)
        costs = {way: Cost() for way in ("bare", *(way for way in given.ways if way != "bare"))}
        for _ in range(given.rounds):
            for way, cost in costs.items():
                milliseconds, cost.record_bytes = measure(workload, way, steps)
                cost.milliseconds.append(milliseconds)
        Console(width=110).print(table(workload, costs, steps))


if __name__ == "__main__":
    main()
