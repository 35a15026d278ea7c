"""The exception type for errors in the user's input."""


class InputError(ValueError):
    """An argument or a file that cannot be used.

    The message states the value, the expected values and a remedy; the command line prints it without a traceback.
    """
