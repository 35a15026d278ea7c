"""A fit in several processes, run as a script: `python distributed_fit.py FOLDER DEVICES STRATEGY [what happens]`.

Each process leaves what its instruments said of each step in FOLDER/rank_N.json.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from fits import QUIET, Recorder, Regression, every_step, loader
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler

from callbacks import _tally


class Net(nn.Module):
    """Two tanh layers, and one more that only some processes may use."""

    def __init__(self, happens: str) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 1)
        self.tanh1, self.tanh2, self.seldom = nn.Tanh(), nn.Tanh(), nn.Sigmoid()
        self.happens = happens

    def forward(self, x: Tensor) -> Tensor:
        h = self.tanh2(self.second(self.tanh1(self.first(x))))
        if self.happens == "branch" and torch.distributed.get_rank() == 1:
            self.seldom(h)
        return self.head(h)


class Model(Regression):
    """Gives each process every n-th row of a batch, and shards itself where there is a mesh to shard over."""

    def train_dataloader(self) -> DataLoader[Any]:
        # 44 rows in batches of 8, over all processes: the last one is a short one.
        whole, processes = loader(rows=44).dataset, self.trainer.world_size
        sampler = DistributedSampler(whole, processes, self.trainer.global_rank, shuffle=False)
        return DataLoader(whole, batch_size=8 // processes, sampler=sampler)

    def configure_model(self) -> None:
        if (mesh := self.device_mesh) is not None:
            from torch.distributed.fsdp import fully_shard

            for layer in self.net.children():
                if isinstance(layer, nn.Linear):
                    fully_shard(layer, mesh=mesh["data_parallel"])
            fully_shard(self.net, mesh=mesh["data_parallel"])


class BreaksOnOne(Callback):
    """Lets a statistic raise on the second process, from step 2 on."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        if trainer.global_rank == 1 and trainer.global_step == 2:
            _tally.Histogram = None  # type: ignore[assignment]


class Reports(Recorder):
    """Writes what was said when training has ended."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        said = {
            kind: {
                step: {k: v if isinstance(v, float) else v.counts.tolist() for k, v in tags.items()}
                for step, tags in steps.items()
            }
            for kind, steps in self.said.items()
        }
        off = [type(c).__name__ for c in trainer.callbacks if getattr(c, "_on", None) is False]  # type: ignore[attr-defined]
        (self.folder / f"rank_{trainer.global_rank}.json").write_text(json.dumps({"said": said, "off": off}))


def main(folder: str, devices: str, strategy: str, happens: str = "") -> None:
    torch.set_num_threads(1)
    seed_everything(11, verbose=False)
    extra = [BreaksOnOne()] if happens == "fault" else []
    shards = ModelParallelStrategy(data_parallel_size=int(devices), tensor_parallel_size=1)
    tensors = ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=int(devices))
    chosen: Any = {"fsdp2": shards, "tensor_parallel": tensors}.get(strategy, strategy)
    trainer = Trainer(
        **QUIET,
        devices=int(devices),
        strategy=chosen,
        max_epochs=2,
        use_distributed_sampler=False,
        callbacks=[*extra, *every_step(figures=False), Reports(Path(folder))],
    )
    trainer.fit(Model(Net(happens)))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
