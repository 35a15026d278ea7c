"""Fit in several processes, run as a script: `python distributed_fit.py FOLDER DEVICES STRATEGY [VARIANT]`.

Each process writes the records of its instruments to FOLDER/rank_N.json.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from fits import ALL, QUIET, Recorder, Regression, every_step, loader
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler

CLIP = 0.7
"""Norm of all gradients that the Trainer lets through, less than that of some steps."""

FIRST_FAULT = 2
"""Step from which on a layer's output cannot be measured on the second rank."""


class Net(nn.Module):
    """Two tanh layers, and others that depend on the variant.

    Args:
        variant: "branch": only the second rank calls a sigmoid. "fault": on the second rank an output cannot be
            measured from `FIRST_FAULT` on. "functions": activation functions in the place of modules.
    """

    def __init__(self, variant: str) -> None:
        super().__init__()
        self.first, self.second, self.head = (
            nn.Linear(4, 8),
            nn.Linear(8, 8),
            nn.Linear(8, 1),
        )
        self.tanh1, self.tanh2, self.seldom, self.pair = (
            nn.Tanh(),
            nn.Tanh(),
            nn.Sigmoid(),
            Pair(),
        )
        self.variant = variant
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.variant == "functions":
            return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))
        h = self.tanh2(self.second(self.tanh1(self.first(x))))
        is_second = (
            torch.distributed.is_initialized() and torch.distributed.get_rank() == 1
        )
        if self.variant == "branch" and is_second:
            self.seldom(h)
        if self.variant == "fault":
            self.pair(h, is_second and self.calls >= FIRST_FAULT)
        self.calls += 1
        return self.head(h)


class Pair(nn.Module):
    """Returns its input, and a tensor that has no values if `breaks`, which cannot be measured."""

    def forward(self, h: Tensor, breaks: bool) -> tuple[Tensor, Tensor]:
        return h, torch.ones(3, 3, device="meta" if breaks else "cpu")


class Model(Regression):
    """Gives each rank every n-th row of a batch, and shards itself under ModelParallelStrategy."""

    def train_dataloader(self) -> DataLoader[Any]:
        # 44 rows in batches of 8, over all ranks: the last batch is a short one.
        data, ranks = loader(rows=44).dataset, self.trainer.world_size
        sampler = DistributedSampler(
            data, ranks, self.trainer.global_rank, shuffle=False
        )
        return DataLoader(data, batch_size=8 // ranks, sampler=sampler)

    def configure_model(self) -> None:
        if (mesh := self.device_mesh) is not None:
            from torch.distributed.fsdp import fully_shard

            for layer in self.net.children():
                if isinstance(layer, nn.Linear):
                    fully_shard(layer, mesh=mesh["data_parallel"])
            fully_shard(self.net, mesh=mesh["data_parallel"])


class WritesRecords(Recorder):
    """Writes the records when training has ended."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        records = {
            name: {
                step: {tag: as_json(value) for tag, value in record.items()}
                for step, record in steps.items()
            }
            for name, steps in self.records.items()
        }
        (self.folder / f"rank_{trainer.global_rank}.json").write_text(
            json.dumps(records)
        )


class Drifts(Callback):
    """Changes a parameter of the second rank."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        if trainer.global_rank == 1 and trainer.global_step == FIRST_FAULT:
            pl_module.net.head.bias.data += 0.1  # type: ignore[union-attr]


def as_json(value: Any) -> Any:
    return value if isinstance(value, float) else value.counts.tolist()


def main(folder: str, devices: str, strategy: str, variant: str = "") -> None:
    torch.set_num_threads(1)
    seed_everything(11, verbose=False)
    shards = ModelParallelStrategy(
        data_parallel_size=int(devices), tensor_parallel_size=1
    )
    tensors = ModelParallelStrategy(
        data_parallel_size=1, tensor_parallel_size=int(devices)
    )
    chosen: Any = {"fsdp2": shards, "tensor_parallel": tensors}.get(strategy, strategy)
    layers = ["Tanh", "net.pair"] if variant == "fault" else None
    trainer = Trainer(
        **QUIET,
        devices=int(devices),
        strategy=chosen,
        max_epochs=2,
        gradient_clip_val=CLIP,
        use_distributed_sampler=False,
        callbacks=[
            *every_step(ALL, figures=False, layers=layers),
            WritesRecords(Path(folder)),
            *([Drifts()] if variant == "drift" else []),
        ],
    )
    trainer.fit(Model(Net(variant)))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
