"""What is raised when an instrument is asked for what cannot be."""

from lightning.fabric.utilities.exceptions import MisconfigurationException


class InstrumentError(MisconfigurationException, ValueError):
    """Says what was given, what was expected and what to do."""
