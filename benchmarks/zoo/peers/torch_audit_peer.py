"""Adapter of torch-audit: `autopatch` of the network and the optimizer, at every step instead of every 1000th."""

from typing import Any

from lightning.pytorch import Trainer

from .peer import Finding, Peer, finding

SEVERITIES = {"INFO": "note", "WARN": "warn", "ERROR": "fail", "FATAL": "fail"}


HINTS = ("TA20", "TA401", "TA402", "TA403")
"""Rules on speed and on weight decay, which say nothing of health: notes here."""


class TorchAuditPeer(Peer):
    """torch-audit in its zero-touch mode."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        from torch_audit import autopatch  # type: ignore[import-not-found]

        network = getattr(pl_module, "net", pl_module)
        optimizer: Any = trainer.optimizers[0]
        self.auditor = autopatch(network, optimizer=optimizer, every_n_steps=50)
        self.prefix = "net." if network is not pl_module else ""

    def findings(self) -> list[Finding]:
        """Returns its findings by severity."""
        rows = []
        for each in self.auditor.findings:
            hint = each.rule_id.startswith(HINTS)
            severity = "note" if hint else SEVERITIES[each.severity.value]
            where = f"{self.prefix}{each.module_path or each.entity or ''}"
            rows.append(finding(severity, each.message, where, each.step or 0))
        self.auditor.unpatch()
        return rows
