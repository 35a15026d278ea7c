"""Watchers: what judges a training, by name."""

import importlib.util
import io
import logging
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from .peers.neural_observatory_peer import NeuralObservatoryPeer
from .peers.neuraldbg_peer import NeuralDBGPeer
from .peers.peer import Peer
from .peers.torch_audit_peer import TorchAuditPeer
from .peers.torchdiag_peer import TorchdiagPeer
from .peers.torchmortem_peer import TorchmortemPeer
from .training import Training, fit

Judged = tuple[str, list[dict[str, Any]]]
"""Verdict and findings, each finding with rule, severity, where, step, last_step, value, limit and message."""

Watcher = Callable[[Training, int | None], Judged]

EVERY_N_STEPS = 50
"""Cadence of the due steps of HealthCheck; the dense start is its default."""

OURS = "HealthCheck"


def health_check(training: Training, steps: int | None) -> Judged:
    """Fits under HealthCheck with its defaults."""
    from callbacks import HealthCheck

    check = HealthCheck(every_n_steps=EVERY_N_STEPS, figures=False)
    with redirect_stdout(io.StringIO()):  # the report that it prints at the end
        fit(training, [check], steps)
    findings = [finding.to_dict() for finding in check.report.findings]
    return check.report.verdict, findings


def watcher_of(peer: Callable[[], Peer]) -> Watcher:
    """Returns the watcher of another package."""

    def watch(training: Training, steps: int | None) -> Judged:
        callback = peer()
        logging.disable(logging.WARNING)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            fit(training, [callback], steps)
            findings = callback.findings()
        order = ("fail", "warn", "note")
        findings.sort(key=lambda each: order.index(each["severity"]))
        worst = findings[0]["severity"] if findings else "note"
        return "ok" if worst == "note" else worst, findings

    return watch


PEERS: dict[str, Callable[[], Peer]] = {
    "torchmortem": TorchmortemPeer,
    "neuraldbg": NeuralDBGPeer,
    "neural_observatory": NeuralObservatoryPeer,
    "torchdiag": TorchdiagPeer,
    "torch_audit": TorchAuditPeer,
}
"""Adapters by the name that the package is imported under."""

WATCHERS: dict[str, Watcher] = {OURS: health_check} | {
    name: watcher_of(peer) for name, peer in PEERS.items()
}


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
