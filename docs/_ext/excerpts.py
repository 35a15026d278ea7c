"""Sphinx extension: excerpts of the repository's Markdown files in pages, so that no text stands twice.

A line of a page stands for an excerpt. After the file, a section can be named, whose text up to the next heading is
meant, and the words that the excerpt begins with and ends before:

    <!-- excerpt README.md -->
    <!-- excerpt README.md | Run it -->
    <!-- excerpt README.md | Run it | from Pass the tests | to `constraints.txt` holds -->

A whole file comes without its title. Links lead to the page that has the text of a file, and have its title where their
words are the name of the file; of a link to a file without a page, the words are left.
"""

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]

PAGES = {
    "README.md": "getting_started.md",
    "callbacks/README.md": "arguments.md",
    "callbacks/README.md#the-rules": "rules.md",
    "benchmarks/README.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
"""Pages that have the text of a file, by its path in the repository."""

MARKER = re.compile(
    r"^<!-- excerpt (?P<path>\S+)(?: \| (?!from |to )(?P<title>.+?))?"
    r"(?: \| from (?P<start>.+?))?(?: \| to (?P<end>.+?))? -->$",
    re.MULTILINE,
)
CODE = re.compile(r"^```.*?^```[ \t]*$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
LINK = re.compile(r"(!?)\[([^]]*)\]\((?!https?:|#)([^)\s]*)\)")


def section(text: str, title: str) -> str:
    """Returns the text below a heading, up to the next one.

    Raises:
        ValueError: If no heading has the title.
    """
    # Comments in code look like headings. Positions stay those in the text.
    without_code = CODE.sub(lambda code: " " * len(code[0]), text)
    headings = list(HEADING.finditer(without_code))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    for heading, end in zip(headings, ends, strict=True):
        if heading[1] == title:
            return text[heading.end() : end].strip()
    raise ValueError(f"no section is called {title!r}")


def between(text: str, start: str | None, end: str | None) -> str:
    """Returns a text from some words on, and before others.

    Raises:
        ValueError: If the words are not in the text.
    """
    for words in (start, end):
        if words is not None and words not in text:
            raise ValueError(f"no such words: {words!r}")
    begin = 0 if start is None else text.index(start)
    return text[begin : None if end is None else text.index(end, begin)].strip()


def with_links(text: str, path: str, page: str) -> str:
    """Returns a text whose links lead from a page.

    Args:
        text: Markdown.
        path: File that the text is of, from the top of the repository.
        page: File of the page, likewise.
    """

    def link_from_page(link: re.Match[str]) -> str:
        mark, words, address = link.groups()
        target = normpath(join(dirname(path), address))
        target = f"docs/{PAGES[target]}" if target in PAGES else target
        if not target.startswith("docs/"):
            return words
        if words.endswith(".md") and address.split("#")[0].endswith(words):
            words = ""  # which MyST fills with the title
        return f"{mark}[{words}]({relpath(target, dirname(page))})"

    return LINK.sub(link_from_page, text)


def excerpt(marker: re.Match[str], page: str) -> str:
    """Returns the text that a marker on a page stands for.

    Raises:
        ValueError: If the file does not have what is meant.
    """
    text = (ROOT / marker["path"]).read_text(encoding="utf-8")
    title = marker["title"]
    text = section(text, title) if title else HEADING.sub("", text, count=1)
    return with_links(
        between(text, marker["start"], marker["end"]), marker["path"], page
    )


def with_excerpts(text: str, page: str) -> str:
    """Returns the text of a page with its excerpts in their places."""
    text = with_links(text, page, page)
    return MARKER.sub(lambda marker: excerpt(marker, page), text)


def read_page(app: "Sphinx", docname: str, source: list[str]) -> None:
    """Puts the excerpts into a page. The page is read again when a file has changed."""
    for marker in MARKER.finditer(source[0]):
        app.env.note_dependency(str(ROOT / marker["path"]))
    source[0] = with_excerpts(source[0], f"docs/{docname}.md")


def setup(app: "Sphinx") -> dict[str, bool]:
    app.connect("source-read", read_page)
    return {"parallel_read_safe": True}
