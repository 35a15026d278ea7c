"""Fits with FlightRecorder in one of several processes, run as a script: `python distributed_recorder.py FOLDER`.

Two such processes find each other by the address in their environment. The second has a NaN in one batch. Bundles are
written to FOLDER/ddp and FOLDER/fsdp2, and digests of the weights, with and without a recorder, to FOLDER/rank_N.json.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from distributed_fit import Model, Net
from fits import QUIET, SEED
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor

from callbacks import FlightRecorder

BAD_STEP = 2


class BadBatch(Model):
    """Spoils a batch of the second rank, if it is to; the gradients are then made zero, so that weights stay finite."""

    def on_train_batch_start(self, batch: list[Tensor], batch_idx: int) -> None:
        pass

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        is_second = self.trainer.global_rank == 1
        if is_second and self.trainer.global_step == BAD_STEP:
            batch[0][0, 0] = float("nan")
        return batch

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        for param in self.parameters():
            gradient: Any = param.grad
            if gradient is not None:
                own = gradient.to_local() if hasattr(gradient, "to_local") else gradient
                own.nan_to_num_(0.0)


def digest_of(strategy: Any, callbacks: list[Any]) -> str:
    """Fits, and returns a digest of this rank's weights."""
    seed_everything(SEED, verbose=False)
    model = BadBatch(Net(""))
    trainer = Trainer(
        **QUIET,
        devices=2,
        strategy=strategy,
        max_steps=5,
        use_distributed_sampler=False,
        callbacks=callbacks,
    )
    trainer.fit(model)
    digest = hashlib.sha256()
    for param in model.parameters():
        own: Any = param.to_local() if hasattr(param, "to_local") else param  # type: ignore[operator]
        digest.update(own.detach().numpy().tobytes())
    return digest.hexdigest()


def main(folder: str) -> None:
    torch.set_num_threads(1)
    digests: dict[str, list[str]] = {}
    for name in ("ddp", "fsdp2"):
        digests[name] = []
        for has_recorder in (True, False):
            shards = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
            path = str(Path(folder) / name)
            recorder = FlightRecorder(dirpath=path, figures=False)
            strategy = shards if name == "fsdp2" else "ddp"
            digests[name].append(digest_of(strategy, [recorder] * has_recorder))
    file = Path(folder) / f"rank_{os.environ['LOCAL_RANK']}.json"
    file.write_text(json.dumps(digests))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
