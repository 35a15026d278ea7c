"""Losses of a run, by the tags that people give them."""

from .run import Run, Series

TRAINING = (
    *("train/loss_mean", "Loss/train", "train/loss", "train_loss", "loss/train"),
    *("train_loss_epoch", "train_loss_step", "loss"),
)
"""Tags of training losses, the smoothest first."""


def losses_of(run: Run) -> dict[str, Series]:
    """Returns the loss of training, then that of validation, by tag, as far as there are any."""
    is_loss = {tag: "loss" in tag.lower() for tag in run.numbers}
    validation = [tag for tag, loss in is_loss.items() if loss and "val" in tag.lower()]
    others = [
        tag
        for tag, loss in is_loss.items()
        if loss and tag not in validation and not tag.startswith(("final/", "initial/"))
    ]
    training = [tag for tag in TRAINING if tag in run.numbers] or others
    validation = [tag for tag in validation if not tag.startswith("final/")]
    return {tag: run.numbers[tag] for tag in [*training[:1], *validation[:1]]}
