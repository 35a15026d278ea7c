"""Sources of names: the embedded file, makemore's own file, or any text file with one name a line."""

import hashlib
import logging
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pooch

from makemore_lightning.errors import InputError
from makemore_lightning.vocabulary import END

log = logging.getLogger(__name__)

EMBEDDED = "ssa2018"
MAKEMORE = "makemore"
MAKEMORE_URL = "https://raw.githubusercontent.com/karpathy/makemore/master/names.txt"
MAKEMORE_SHA256 = "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"
CONTROL_CATEGORIES = {"Cc", "Zl", "Zp"}
"""Unicode categories of control characters, line separators and paragraph separators."""


@dataclass(frozen=True)
class NameList:
    """Names of one file, each with its line number for error messages.

    Args:
        path: The file.
        names: The names, in the order of the file or of a selection.
        lines: Line number of each name, from 1.

    Example:
        >>> names = NameList(Path("names.txt"), ("emma", "ava", "emma"), (1, 2, 4))
        >>> names.unique()
        NameList(path=PosixPath('names.txt'), names=('emma', 'ava'), lines=(1, 2))
    """

    path: Path
    names: tuple[str, ...]
    lines: tuple[int, ...]

    def unique(self) -> "NameList":
        """Returns the list without repetitions: of equal names, the first remains."""
        first_positions: dict[str, int] = {}
        for position, name in enumerate(self.names):
            first_positions.setdefault(name, position)
        return self.select(first_positions.values())

    def select(self, positions: Iterable[int]) -> "NameList":
        """Returns the names at some positions of the list, in the order of the positions."""
        positions = list(positions)
        names = tuple(self.names[position] for position in positions)
        lines = tuple(self.lines[position] for position in positions)
        return NameList(self.path, names, lines)


def locate(source: str | Path, url: str = MAKEMORE_URL) -> Path:
    """Returns the path of a file of names, without downloading.

    Args:
        source: "ssa2018", "makemore" or a path.
        url: Address of makemore's file, which determines the name of the cached copy.

    Raises:
        InputError: If the file does not exist.
    """
    if source == EMBEDDED:
        return _embedded_file()
    path = _cached_file(url) if source == MAKEMORE else Path(source).expanduser()
    if not path.is_file():
        raise InputError(
            f"{path}: no such file of names. Expected the path of a text file with one name a line, "
            f'"{EMBEDDED}" (comes with the project) or "{MAKEMORE}" (is downloaded once).'
        )
    return path


def _embedded_file() -> Path:
    # data/ is inside the package in an installed wheel, and next to the package in a checkout.
    package = Path(__file__).parent
    for folder in (package, package.parent):
        path = folder / "data" / "names.txt"
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"data/names.txt is neither in {package} nor beside it: the installation is incomplete"
    )


def _cached_file(url: str) -> Path:
    # A file name for each address, so that the copy of a mirror is never used for another address.
    key = hashlib.sha256(url.encode()).hexdigest()[:8]
    return Path(pooch.os_cache("makemore-lightning")) / f"makemore-names-{key}.txt"


def download(url: str = MAKEMORE_URL, retries: int = 2) -> Path:
    """Downloads makemore's names.txt into the user's cache unless it is cached, and checks its sha256.

    Args:
        url: Address of the file.
        retries: Number of attempts after a failure, with an increasing pause of 1 to 10 s.

    Returns:
        The path of the cached file.

    Raises:
        InputError: If the download fails, or the file has another checksum than makemore's.
    """
    target = _cached_file(url)
    cache = pooch.create(
        path=target.parent,
        base_url="",
        registry={target.name: f"sha256:{MAKEMORE_SHA256}"},
        urls={target.name: url},
        retry_if_failed=retries,
    )
    try:
        return Path(cache.fetch(target.name))
    except (OSError, ValueError) as error:
        raise InputError(
            f"makemore's names could not be fetched from {url} in {retries + 1} tries: {error} "
            f'Go online and try again, use names="{EMBEDDED}", or give the path of a copy of the file.'
        ) from error


def read(path: Path) -> NameList:
    """Reads a file with one name a line.

    Blank lines are skipped and surrounding space is stripped; a warning is logged with the number of each.

    Args:
        path: A UTF-8 file. Upper case, accents and inner spaces are characters like any other; a combining accent is
            joined with its letter (Unicode's form NFC).

    Raises:
        InputError: If the file is not UTF-8, has no name, or a name contains "." or a control character; the message
            states the file and the line.
    """
    raw_lines = _decode(path).split("\n")
    stripped = [line.strip() for line in raw_lines]
    numbers = tuple(number for number, name in enumerate(stripped, start=1) if name)
    names = tuple(filter(None, stripped))
    if not names:
        raise InputError(f"{path}: the file holds no name. Expected one name a line.")
    for name, number in zip(names, numbers, strict=True):
        _check_characters(name, f"{path}, line {number}")
    _warn_about_cleaning(path, raw_lines, stripped)
    return NameList(path, names, numbers)


def _check_characters(name: str, location: str) -> None:
    if END in name:
        raise InputError(
            f'{location}: the name {name!r} contains "{END}", which marks the end of a name. '
            "Remove it or write another character."
        )
    categories = {unicodedata.category(character) for character in name}
    if categories & CONTROL_CATEGORIES:
        raise InputError(
            f"{location}: the name {name!r} contains a control character. Expected one name a line."
        )


def _decode(path: Path) -> str:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte 0x{content[error.start]:02x}). Save the file as UTF-8."
        ) from None
    text = text.replace("\r\n", "\n").replace(
        "\r", "\n"
    )  # line breaks of Windows and of old Macs
    # An accent is a character of its own or part of its letter: NFC makes both the same name.
    return unicodedata.normalize("NFC", text)


def _warn_about_cleaning(path: Path, raw_lines: list[str], stripped: list[str]) -> None:
    blank = stripped.count("")
    if not raw_lines[-1]:
        blank -= 1  # the empty string after the last line break is no line
    pairs = zip(raw_lines, stripped, strict=True)
    spaced = sum(raw != name for raw, name in pairs if name)
    if blank or spaced:
        log.warning(
            "%s: skipped %d blank lines and stripped the space around %d names.",
            path,
            blank,
            spaced,
        )
