"""Adapter of torchdiag: gradients and dead neurons, checked once after the first backward pass and at the end."""

from typing import Any

from lightning.pytorch import Trainer

from .peer import Finding, Peer, finding

WORDS = {"EXPLODE": "exploding", "VANISH": "vanishing", "no_grad": "no gradients"}
"""Its states of a gradient."""


class TorchdiagPeer(Peer):
    """torchdiag's check_gradients and check_dead_neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Finding] = []

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: Any, optimizer: Any
    ) -> None:
        import torchdiag  # type: ignore[import-not-found]

        if self.step != 0:
            return
        for name, row in torchdiag.check_gradients(pl_module).items():
            if row["status"] != "OK":
                self.rows.append(finding("warn", WORDS[row["status"]], name, 0))

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        import torchdiag  # type: ignore[import-not-found]

        if not hasattr(pl_module, "net"):
            return
        report = torchdiag.check_dead_neurons(pl_module.net, self.batch[0])
        for name, row in report.items():
            if row["dead_pct"] > 20:
                severity = "fail" if row["dead_pct"] > 50 else "warn"
                self.rows.append(
                    finding(severity, "dead neurons", f"net.{name}", self.step)
                )

    def findings(self) -> list[Finding]:
        """Returns the issues that it printed."""
        return self.rows
