"""Messages of jsonargparse, which have up to 20 lines of types and values, as one line in words."""

import difflib
import re
from collections.abc import Iterable, Iterator

NOISE = re.compile(
    r"Expected a path but|Does not validate|Not a valid subclass|a class path \(str\)|a dict |"
    r"Expected a <class '(NoneType|collections.abc.Iterable)'>"
)
"""Begins of items that say nothing of the mistake."""

WORDS = (
    (r"Expected a dot import path string: (.*)", r"no class \1 is known by this name"),
    (r"Type .* expects a function or a callable class: ", ""),
    (r"\. Got value: Namespace\(.*", ""),
    (r"typing\.Literal\[(.*?)\]", r"one of \1"),
    (r"<class '([\w.]+)'>", r"\1"),
    (r"^Expected an? ", "expected "),
    (r"\. Got value: ", ", got "),
)
"""Regular expressions and what replaces a match, in this order."""

LONGEST_VALUE = 40
"""Characters of a value that is repeated in a message."""


def in_one_line(message: str) -> str:
    r"""Returns the option, what was expected and what was given.

    Args:
        message: An error message of jsonargparse.

    Example:
        >>> in_one_line('Parser key "gain":\nErrors:\n- Expected a <class \'float\'>\nGiven value: big')
        '--gain: expected float, got big'
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    option = ".".join(re.findall(r'Parser key "([\w.+]+)":', message))
    items = _items(lines) or [_without_key(" ".join(lines))]
    text = ", or ".join(dict.fromkeys(_in_words(item) for item in items))
    text = text.replace(", or expected ", " or ")
    text += _class_of_option(message) + _value(lines, text)
    if not option:
        return text
    # The message of an option within an option begins with its name.
    is_nested = text.startswith("--")
    return f"--{option}.{text[2:]}" if is_nested else f"--{option}: {text}"


def _items(lines: Iterable[str]) -> list[str]:
    items = [_without_key(line[2:]) for line in lines if line.startswith("- ")]
    return [item for item in items if item and not NOISE.match(item)]


def _without_key(text: str) -> str:
    return re.sub(r'^Parser key "[\w.+]+":\s*', "", text)


def _in_words(text: str) -> str:
    for pattern, replacement in WORDS:
        text = re.sub(pattern, replacement, text)
    return text


def _class_of_option(message: str) -> str:
    """Names the class that does not accept an option, found in the value that contains both."""
    option = re.search(r"Option '(\w+)' is not accepted", message)
    if option is None:
        return ""
    arguments = rf"'class_path': '([\w.]+)', 'init_args': {{[^{{}}]*'{option[1]}'"
    owner = re.search(arguments, message)
    return f" by {owner[1]}" if owner else ""


def _value(lines: Iterable[str], text: str) -> str:
    for line in lines:
        value = line.removeprefix("Given value: ")
        if value != line:
            is_known = re.search(rf"\b{re.escape(value)}\b", text)
            if is_known or len(value) > LONGEST_VALUE or value.startswith("NestedArg"):
                return ""
            return f", got {value}"
    return ""


def with_suggestion(message: str, options: Iterable[str]) -> str:
    """Adds the option that a misspelt one resembles.

    Args:
        message: An error message with the misspelt option.
        options: All options, such as `--trainer.max_steps`.

    Example:
        >>> with_suggestion("unrecognized arguments: --trainer.max_step=5", ["--trainer.max_steps"])
        'unrecognized arguments: --trainer.max_step=5. Did you mean --trainer.max_steps?'
    """
    if "before subcommand" in message:
        return f"{message}: the subcommand comes first, as in fit --config FILE"
    options = list(options)
    sections = {option.partition(".")[0] for option in options}
    for word in _unknown_options(message):
        section = f"--{word}".partition(".")[0]
        without_section = [option for option in options if option.endswith(f".{word}")]
        close = without_section or (
            difflib.get_close_matches(f"--{word}", options, n=1, cutoff=0.7)
            if section in sections
            else difflib.get_close_matches(section, sections, n=1)
        )
        if close:
            return f"{message}. Did you mean {close[0]}?"
    return message


def _unknown_options(message: str) -> Iterator[str]:
    for pattern in (
        r"unrecognized arguments: --([\w.+]+)",
        r"does not accept option '([\w.]+)'",
    ):
        yield from re.findall(pattern, message)
