"""Writes what is known of a step to a bundle."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..probe.selection import clean_name
from .bundle import Bundle, free_path, write_bundle, written_as_a_whole
from .kept_batches import KeptBatch
from .page import page_of
from .picture import save_picture
from .plain import left_out, to_plain
from .recording import Evidence

PAGE, PICTURE, CONFIG = "README.md", "ring.png", "config.yaml"


class BundleWriter:
    """Writes bundles of one fit.

    Args:
        folder: Folder of the bundles.
        facts: Facts of the fit.
        root: The model.
        config: File with the settings of the run, which is copied if it is there.
    """

    def __init__(
        self, folder: Path, facts: Mapping[str, Any], root: nn.Module, config: Path
    ) -> None:
        self._folder, self._facts, self._config = folder, facts, config
        self._names = {
            module: clean_name(root, name) for name, module in root.named_modules()
        }

    def write(
        self, evidence: Evidence, checkpoint: str | None, has_pictures: bool
    ) -> Path:
        """Writes a bundle and returns its path.

        Args:
            evidence: What is known.
            checkpoint: Path of the last checkpoint, where there is no state.
            has_pictures: Whether to draw the numbers.

        Raises:
            OSError: If it cannot be written; then nothing is left of it.
        """
        step = evidence.first.step
        rank = f"_rank_{self._facts['rank']}" if self._facts["ranks"] > 1 else ""
        path = free_path(self._folder, f"step_{step:06d}_{evidence.trigger.kind}{rank}")
        batches = to_plain([self._batch(each) for each in evidence.batches])
        state = evidence.state
        contents = to_plain(state and {"step": state.step, **state.state})
        missing = {"not_written": sorted(left_out([batches, contents]))}
        facts = {**self._facts, **self._facts_of(evidence, checkpoint), **missing}
        bundle = Bundle(facts, evidence.numbers, batches, contents)
        with written_as_a_whole(path) as folder:
            write_bundle(folder, bundle)
            has_picture = has_pictures and save_picture(
                folder / PICTURE, evidence.numbers, step
            )
            if self._config.is_file():
                shutil.copy(self._config, folder / CONFIG)
            page = page_of(facts, evidence.numbers, has_picture, str(path))
            (folder / PAGE).write_text(page, encoding="utf-8")
        return path

    def _facts_of(self, evidence: Evidence, checkpoint: str | None) -> dict[str, Any]:
        state = None if evidence.state is None else evidence.state.step
        return {
            "first": vars(evidence.first),
            "trigger": vars(evidence.trigger),
            "progress": list(evidence.progress),
            "state": {
                "step": state,
                "checkpoint": None if state is not None else checkpoint,
                "reason": reason_of(checkpoint),
            },
            "batches": [
                {
                    "step": each.inputs.step,
                    "batch_idx": each.inputs.batch_idx,
                    "epoch": each.epoch,
                    "is_changed": each.is_changed,
                }
                for each in evidence.batches
            ],
        }

    def _batch(self, batch: KeptBatch) -> dict[str, Any]:
        """Returns a batch with all that its training step is computed from."""
        inputs = batch.inputs
        counts = [
            (self._names[module], name, value)
            for module, name, value in inputs.counts
            # No member of an enumeration, which would be read as another thing.
            if module in self._names and type(value) in (bool, int, float)
        ]
        return {
            "step": inputs.step,
            "batch_idx": inputs.batch_idx,
            "epoch": batch.epoch,
            "global_step": batch.global_step,
            "batch": inputs.batch,
            "random_state": inputs.random_state,
            "counts": counts,
        }


def reason_of(checkpoint: str | None) -> str:
    """Returns why a bundle has no state, and where one may be had."""
    moved = "the parameters had moved since, and state_every_n_steps keeps no copy."
    last = f"The last checkpoint is {checkpoint}." if checkpoint else ""
    return f"{moved} {last}".strip()
