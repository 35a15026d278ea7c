"""Description of the wheel: README.md, less what leads nowhere outside of a checkout. The rest is in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

ADDRESS: str | None = None
"""Where the files of this repository can be seen, ending with a slash; None while that is nowhere."""

PICTURE = re.compile(r"!\[[^]]*\]\((?!https?:)[^)]*\)")
LINK = re.compile(r"\[([^]]*)\]\((?!https?:|#)([^)]*)\)")


def description(readme: str, address: str | None) -> str:
    """Returns a README with absolute pictures and links; without an address, with neither."""
    if address is None:
        return LINK.sub(r"\1", PICTURE.sub("", readme))
    return LINK.sub(rf"[\1]({address}\2)", readme)


README = Path(__file__).with_name("README.md").read_text(encoding="utf-8")

setup(
    long_description=description(README, ADDRESS),
    long_description_content_type="text/markdown",
)
