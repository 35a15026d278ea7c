"""Charts of the metrics, in all loggers of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.fabric.loggers.logger import Logger
from lightning.pytorch.loggers import TensorBoardLogger

FIRST_CHARTS = {
    "train/loss_mean": "Loss/train",
    "train/loss_log10": "Loss/train_log10",
    "val/loss": "Loss/val",
}
"""Charts that TensorBoard shows first, under a second tag: it sorts groups by name, and capitals come first."""


def log_numbers(
    loggers: Sequence[Logger], prefix: str, metrics: Mapping[str, Any], step: int
) -> None:
    """Writes the metrics of a step.

    Not by `self.log`: it has no point at step 0, adds a scalar "epoch" to each, and costs at every step.

    Args:
        loggers: Loggers of the Trainer; TensorBoard also gets the `FIRST_CHARTS`.
        prefix: First part of the tags, such as "train".
        metrics: Numbers by name.
        step: Step on the axis of the charts.
    """
    values = {f"{prefix}/{name}": float(value) for name, value in metrics.items()}
    first = {tag: values[name] for name, tag in FIRST_CHARTS.items() if name in values}
    for logger in loggers:
        is_tensorboard = isinstance(logger, TensorBoardLogger)
        logger.log_metrics(values | first if is_tensorboard else values, step=step)
