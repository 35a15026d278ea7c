"""Fits with HealthCheck in one of several processes, run as a script: `python distributed_health.py FOLDER`.

Two such processes find each other by the address in their environment. A healthy and a saturated network are fitted
under DDP and FSDP2, and a rank writes its reports to FOLDER/rank_N.json.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from distributed_fit import Model, Net
from fits import QUIET, SEED, sgd
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.strategies import ModelParallelStrategy

from callbacks import HealthCheck


def slowly(params: Any) -> torch.optim.Optimizer:
    optimizer = sgd(params)
    optimizer.param_groups[0]["lr"] = 0.02
    return optimizer


def report_of(strategy: Any, times: float) -> dict[str, Any]:
    """Returns the report of a fit whose first weight is scaled."""
    seed_everything(SEED, verbose=False)
    model, check = Model(Net(""), slowly), HealthCheck(every_n_steps=1)
    with torch.no_grad():
        model.net.first.weight *= times  # type: ignore[union-attr, operator]
    trainer = Trainer(
        **QUIET,
        devices=2,
        strategy=strategy,
        max_steps=5,
        use_distributed_sampler=False,
        callbacks=[check],
    )
    trainer.fit(model)
    return check.report.to_dict()


def main(folder: str) -> None:
    torch.set_num_threads(1)
    reports: dict[str, Any] = {}
    for name in ("ddp", "fsdp2"):
        for condition, times in (("healthy", 1.0), ("sick", 30.0)):
            shards = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
            strategy = shards if name == "fsdp2" else "ddp"
            reports[f"{name} {condition}"] = report_of(strategy, times)
    file = Path(folder) / f"rank_{os.environ['LOCAL_RANK']}.json"
    file.write_text(json.dumps(reports))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
