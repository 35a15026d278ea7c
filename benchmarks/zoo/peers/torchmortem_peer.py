"""Adapter of torchmortem: `Autopsy(model, optimizer)` with `step` after each batch."""

from typing import Any

from lightning.pytorch import Trainer

from .peer import Finding, Peer, finding

SEVERITIES = ("note", "warn", "fail")
"""Its INFO, WARNING and CRITICAL."""


class TorchmortemPeer(Peer):
    """torchmortem, as its README has it."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        from torchmortem import Autopsy  # type: ignore[import-not-found]

        self.autopsy = Autopsy(pl_module, optimizer=trainer.optimizers[0])
        self.autopsy.attach()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any, **__: Any
    ) -> None:
        self.autopsy.step(loss=self.loss_of(outputs))

    def findings(self) -> list[Finding]:
        """Returns its findings, a layer each."""
        self.autopsy.detach()
        report: Any = self.autopsy.get_report()
        rows = []
        for each in report.findings if report else []:
            severity = SEVERITIES[int(each.severity)]
            for layer in each.affected_layers or [""]:
                text = f"{each.title} {each.category}"
                rows.append(finding(severity, text, layer, each.step_range[0]))
        return rows
