"""Fits of a healthy and a saturated network under `pytorch_lightning`, run as a script that prints both reports."""

import json
import sys
from typing import Any

sys.modules["lightning"] = None  # type: ignore[assignment]  # cannot be imported

import pytorch_lightning  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from callbacks import HealthCheck  # noqa: E402


class Module(pytorch_lightning.LightningModule):
    def __init__(self, times: float) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        with torch.no_grad():
            self.net[0].weight *= times  # type: ignore[operator]

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.net(batch) - batch[:, :1]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.02)


def report_of(times: float) -> dict[str, Any]:
    """Returns the report of a fit whose first weight is scaled."""
    pytorch_lightning.seed_everything(11)
    check = HealthCheck(every_n_steps=1)
    trainer = pytorch_lightning.Trainer(
        callbacks=[check],  # type: ignore[list-item]
        max_steps=5,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = torch.utils.data.DataLoader(torch.randn(40, 4), batch_size=8)  # type: ignore[arg-type]
    trainer.fit(Module(times), data)
    return check.report.to_dict()


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({"healthy": report_of(1.0), "sick": report_of(30.0)}))
