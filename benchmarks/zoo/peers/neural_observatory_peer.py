"""Adapter of Neural Observatory: `Observatory(model)`, `watch`, and `step` before each forward pass."""

from typing import Any

from lightning.pytorch import Trainer

from .peer import Finding, Peer, finding


class NeuralObservatoryPeer(Peer):
    """Neural Observatory with its default analyzers."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        from neural_observatory import Observatory  # type: ignore[import-not-found]

        self.observatory = Observatory(pl_module)
        self.observatory.watch()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        self.observatory.step(step=batch_idx, epoch=0)

    def findings(self) -> list[Finding]:
        """Returns the results that warn, the most severe first."""
        self.observatory.stop()
        results = self.observatory.report().warnings()
        rows = []
        for each in sorted(results, key=lambda each: -each.severity):
            severity = "fail" if each.status.value == "critical" else "warn"
            text = " ".join([*each.warnings[:1], each.analyzer_name])
            rows.append(finding(severity, text, each.layer_name, each.step))
        return rows
