"""Messages of Lightning and PyTorch that are not printed."""

import logging
import warnings

SUPPRESSED = (
    "Tip:",  # advertises other products
    "was configured so validation will run at the end",  # MakemoreModule.validations
)
"""Parts of messages of Lightning that are not printed."""


def filter_framework_messages() -> None:
    """Suppresses messages of the frameworks that require no action by the user."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: not any(text in record.getMessage() for text in SUPPRESSED)
    )
    # Metrics are logged at steps, however few an epoch has.
    warnings.filterwarnings(
        "ignore", r"The number of training batches .* is smaller than the logging"
    )
    # lightning 2.6 calls a function that torch 2.13 deprecates.
    warnings.filterwarnings(
        "ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning
    )
    # Evaluation runs without the callbacks of the training, on purpose.
    warnings.filterwarnings(
        "ignore", r".*callbacks used to create the checkpoint need to be provided"
    )
