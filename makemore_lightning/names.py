"""Where names come from: the embedded file, makemore's own file, or any file of one name a line."""

import hashlib
import logging
import unicodedata
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


@dataclass(frozen=True)
class NameList:
    """The names of one file, and for each the line it stood on, so that a complaint can say where.

    Example:
        >>> names = NameList(Path("names.txt"), ("emma", "ava", "emma"), (1, 2, 4))
        >>> names.unique()
        NameList(path=PosixPath('names.txt'), names=('emma', 'ava'), lines=(1, 2))
    """

    path: Path
    names: tuple[str, ...]
    lines: tuple[int, ...]

    def unique(self) -> "NameList":
        """Keeps the first of equal names."""
        first = dict(reversed(list(zip(self.names, self.lines, strict=True))))
        kept = sorted(first.items(), key=lambda item: item[1])
        return NameList(self.path, tuple(name for name, _ in kept), tuple(line for _, line in kept))


def locate(source: str | Path, url: str = MAKEMORE_URL) -> Path:
    """Returns the file that `source` stands for: "ssa2018", "makemore" or a path. Downloads nothing.

    Args:
        source: Which names.
        url: Where makemore's file comes from; it decides the place in the cache.

    Raises:
        InputError: If there is no such file.
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
    # Inside the package in an installed wheel, beside it in a checkout.
    package = Path(__file__).parent
    for folder in (package, package.parent):
        path = folder / "data" / "names.txt"
        if path.is_file():
            return path
    raise FileNotFoundError(f"data/names.txt is neither in {package} nor beside it: the installation is incomplete")


def _cached_file(url: str) -> Path:
    # Another address is another file, so that a mirror never serves in the place of the original.
    key = hashlib.sha256(url.encode()).hexdigest()[:8]
    return Path(pooch.os_cache("makemore-lightning")) / f"makemore-names-{key}.txt"


def download(url: str = MAKEMORE_URL, retries: int = 2) -> Path:
    """Fetches makemore's names.txt into the user's cache unless it is there, and checks its sha256.

    Args:
        url: Where the file lies.
        retries: How often to try again after a failure, with a growing pause of 1 to 10 s.

    Raises:
        InputError: If the file cannot be had, or is another file than makemore's.
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
    """Reads one name a line. Blank lines are skipped and surrounding space is stripped; both are counted and told.

    Args:
        path: A UTF-8 file. Upper case, accents and inner spaces are characters like any other; an accent written as
            a character of its own joins its letter (Unicode's form NFC).

    Raises:
        InputError: If the file is not UTF-8, holds no name, or a name contains "." or a control character; says the
            file and the line.
    """
    raw_lines = _decode(path).split("\n")
    stripped = [line.strip() for line in raw_lines]
    found = [(name, number) for number, name in enumerate(stripped, start=1) if name]
    if not found:
        raise InputError(f"{path}: the file holds no name. Expected one name a line.")
    for name, number in found:
        _check(name, f"{path}, line {number}")
    _tell_cleaning(path, raw_lines, stripped)
    names, numbers = zip(*found, strict=True)
    return NameList(path, names, numbers)


def _check(name: str, where: str) -> None:
    if END in name:
        raise InputError(
            f'{where}: the name {name!r} contains "{END}", which marks the end of a name. '
            "Remove it or write another character."
        )
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in name):
        raise InputError(f"{where}: the name {name!r} contains a control character. Expected one name a line.")


def _decode(path: Path) -> str:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte 0x{content[error.start]:02x}). Save the file as UTF-8."
        ) from None
    # Line breaks of Windows and of old Macs; and one form for an accent, which can be written in two.
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def _tell_cleaning(path: Path, raw_lines: list[str], stripped: list[str]) -> None:
    # What follows the last line break is no line.
    blank = sum(not name for name in stripped) - (not raw_lines[-1])
    spaced = sum(bool(name) and name != line for name, line in zip(stripped, raw_lines, strict=True))
    if blank or spaced:
        log.warning("%s: skipped %d blank lines and stripped the space around %d names.", path, blank, spaced)
