"""Rules for continuing a run from a checkpoint: pure functions over configs and checkpoints."""

from pathlib import Path
from typing import Any

import torch

from makemore_lightning.errors import InputError

Arguments = dict[str, Any]
"""Values of arguments by name."""
Checkpoint = dict[str, Any]
"""Content of a checkpoint file."""
CHECKPOINT_KEYS = {"state_dict", "hyper_parameters", "vocabulary", "block_size"}
"""Entries of a checkpoint without which nothing can be resumed or evaluated."""
WHERE_CHECKPOINTS_ARE = (
    "A run keeps its own in RUN/checkpoints: best.ckpt and last.ckpt"
)


def load_checkpoint(path: str | None) -> Checkpoint | None:
    """Loads a checkpoint to the CPU.

    Args:
        path: Path of the file, or None.

    Returns:
        The content of the checkpoint; None if `path` is None.

    Raises:
        InputError: If the file does not exist, is damaged, or is no checkpoint of this project.
    """
    if path is None:
        return None
    if not Path(path).is_file():
        kind = "a folder" if Path(path).is_dir() else "no such file"
        raise InputError(f"--ckpt_path {path}: {kind}. {WHERE_CHECKPOINTS_ARE}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch.load raises exceptions of many types for a file that it cannot read.
        raise InputError(
            f"--ckpt_path {path}: no checkpoint, or a damaged one. {WHERE_CHECKPOINTS_ARE}"
        ) from error
    if not isinstance(checkpoint, dict) or not checkpoint.keys() >= CHECKPOINT_KEYS:
        raise InputError(
            f"--ckpt_path {path}: not a checkpoint of this project. {WHERE_CHECKPOINTS_ARE}"
        )
    return checkpoint


def refuse_other_arguments(
    section: str, requested: Arguments, trained: Arguments
) -> None:
    """Checks that training continues with the network and the data of the checkpoint.

    Args:
        section: "model" or "data", the prefix of the arguments on the command line.
        requested: Arguments of this run.
        trained: Arguments of the run that wrote the checkpoint; an argument in only one of the two is ignored.

    Raises:
        InputError: If arguments differ; the message lists them.
    """
    shared = [name for name in trained if name in requested]
    differing = [
        name
        for name in shared
        if _comparable(requested[name]) != _comparable(trained[name])
    ]
    if differing:
        differences = [
            f"{section}.{name}={trained[name]!r} and not {requested[name]!r}"
            for name in differing
        ]
        raise InputError(
            f"the checkpoint was trained with {', '.join(differences)}; give the config and the arguments of its run"
        )


def _comparable(value: Any) -> Any:
    # YAML has no tuples: compare lists as tuples.
    return tuple(value) if isinstance(value, list) else value


def logger_arguments_to_continue(
    logger: Any, ckpt_path: str, checkpoint: Checkpoint
) -> Arguments:
    """Computes the TensorBoardLogger arguments that append to the log folder of a checkpoint's run.

    Args:
        logger: Configured logger, with `class_path` and `init_args`; or True, False or None.
        ckpt_path: Path of the checkpoint, `RUN/checkpoints/FILE`.
        checkpoint: Content of the checkpoint.

    Returns:
        `version` and `purge_step`; empty if the logger is no TensorBoardLogger or logs to another folder.
    """
    if "TensorBoardLogger" not in str(getattr(logger, "class_path", "")):
        return {}
    run = Path(ckpt_path).resolve().parent.parent
    log_folder = Path(logger.init_args.save_dir) / (logger.init_args.name or "")
    if run.parent != log_folder.resolve():
        return {}
    # Steps after the checkpoint are taken again: purge_step hides their first points from the charts.
    return {"version": run.name, "purge_step": checkpoint["global_step"]}


def training_data_arguments(
    data: Any, defaults: Any, checkpoint: Checkpoint
) -> Arguments:
    """Selects the data arguments that an evaluation takes over from the training.

    Args:
        data: Data arguments of the evaluation.
        defaults: Their default values; only arguments at their default are taken over.
        checkpoint: Content of the checkpoint, with the data arguments of the training.

    Returns:
        Name and value of each argument to replace.
    """
    trained = checkpoint.get("datamodule_hyper_parameters", {})
    unchanged = [
        name for name in trained if name in data and data[name] == defaults[name]
    ]
    return {name: trained[name] for name in unchanged}
