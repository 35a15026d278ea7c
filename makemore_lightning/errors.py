"""The one kind of error that a person can mend without reading code."""


class InputError(ValueError):
    """What a person gave cannot be used. The message says what was given, what was expected and what to do."""
