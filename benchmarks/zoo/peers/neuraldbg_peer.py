"""Adapter of NeuralDBG: `NeuralDbg(model)` with `record_loss` after each backward pass."""

from typing import Any

from lightning.pytorch import Trainer

from .peer import Finding, Peer, finding

HEALTHY = ("healthy", "normal", "stable", "none")


class NeuralDBGPeer(Peer):
    """NeuralDBG's semantic events; its ranked hypotheses need an engine that is not public."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        from neuraldbg import NeuralDbg  # type: ignore[import-not-found]

        self.debugger = NeuralDbg(pl_module)
        self.debugger.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any, **__: Any
    ) -> None:
        self.debugger.record_loss(self.loss_of(outputs))

    def findings(self) -> list[Finding]:
        """Returns its events whose new state is not healthy."""
        self.debugger.__exit__(None, None, None)
        rows = []
        for event in self.debugger.events:
            state = getattr(event.to_state, "value", str(event.to_state))
            if state not in HEALTHY:
                # "Linear_net.fc1": the class of a layer and its name.
                where = event.layer_name.partition("_")[2]
                text = f"{state} {event.event_type.value}"
                rows.append(finding("warn", text, where, event.step))
        return rows
