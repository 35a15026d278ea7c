"""Tests of the documentation's sources: a page for each public name, all rules, and excerpts of what is there.

The pages themselves are built by .ci/run, which a warning of Sphinx ends.
"""

import re
from itertools import chain
from pathlib import Path

import pytest
from costs import cost_text
from excerpts import MARKER, PAGES, between, section, with_excerpts, with_links
from fits import ALL
from rules import limits_text, rules_text

import callbacks
from callbacks.health.catalogue import RULES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = [
    path
    for path in sorted(DOCS.rglob("*.md"))
    if "_build" not in path.parts and path.name != "README.md"
]
TEXTS = {str(path.relative_to(DOCS)): path.read_text() for path in SOURCES}

EACH_PAGE = pytest.mark.parametrize("page", TEXTS)
EACH_RULE = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


def entries_of(page: str) -> set[str]:
    """Returns the pages that the tables of contents of a page list."""
    tables = re.findall(r"```\{toctree\}\n(.*?)```", TEXTS[page], re.DOTALL)
    lines = chain.from_iterable(table.splitlines() for table in tables)
    return {line for line in lines if line and not line.startswith(":")}


def test_every_public_name_has_a_page() -> None:
    pages = {path.stem for path in DOCS.glob("api/*.md")} - {"index"}
    assert pages == set(callbacks.__all__)
    assert entries_of("api/index.md") == pages
    for name in pages:
        text = TEXTS[f"api/{name}.md"]
        assert re.search(rf"^\.\. auto\w+:: callbacks\.{name}$", text, re.MULTILINE)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_callback_has_its_cost_and_what_it_shows(kind: type) -> None:
    text = TEXTS[f"api/{kind.__name__}.md"]
    assert "\n## Cost\n" in text
    assert "\n## Picture\n" in text or "\n## What it prints\n" in text


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = entries_of("index.md")
    listed |= {f"api/{name}" for name in entries_of("api/index.md")}
    assert listed == {page.removesuffix(".md") for page in TEXTS} - {"index"}


@EACH_RULE
def test_the_page_of_rules_has_all_of_each(rule) -> None:
    assert "\n<!-- rules -->\n" in TEXTS["rules.md"]
    text = rules_text()
    assert f"| [`{rule.name}`](#{rule.name}) | {rule.measures} |" in text
    part = text.split(f"\n\n## `{rule.name}`\n\n")[1].split("\n\n## ")[0]
    for words in (rule.why, rule.remedy, rule.source, limits_text(rule)):
        assert words in part


@EACH_RULE
def test_limits_are_those_of_the_catalogue(rule) -> None:
    text = limits_text(rule)
    limits = [(each.warn, each.fail) for each in rule.limits.values()]
    numbers = {f"{limit:g}" for limit in chain(*limits) if limit is not None}
    assert numbers == set(re.findall(r"(?<=above |below )\S+?(?=[,;.]? |\.?$|;)", text))
    assert ("due steps in a row" in text) == (rule.hold > 1)
    for name, each in rule.limits.items():
        words = text.split(f"*{name}*: ")[1].split(";")[0]
        assert (" below " in words) == each.is_floor
    assert rule.limits or re.search(r"\b(note|warn|fail)\b", text)


@EACH_PAGE
def test_excerpts_are_of_what_is_there(page: str) -> None:
    text = with_excerpts(TEXTS[page], f"docs/{page}")
    assert "<!-- excerpt" not in text
    assert text.count("```") % 2 == 0
    for marker in MARKER.finditer(TEXTS[page]):
        assert len(with_excerpts(marker[0], f"docs/{page}")) > 20


@EACH_PAGE
def test_links_lead_to_pages_and_pictures(page: str) -> None:
    text = with_excerpts(TEXTS[page], f"docs/{page}")
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        assert (DOCS / page).parent.joinpath(target).is_file(), target


def test_pages_of_files_exist() -> None:
    assert {path.split("#")[0] for path in PAGES} >= {"README.md", "CHANGELOG.md"}
    for path, page in PAGES.items():
        assert (ROOT / path.split("#")[0]).is_file()
        assert page in TEXTS


def test_costs_are_the_rows_of_each_network() -> None:
    benchmarks = (ROOT / "benchmarks" / "README.md").read_text()
    header, _, *rows = cost_text("GradStats").splitlines()
    assert header.startswith("| network | ms a step |")
    assert [row.split(" (")[0] for row in rows] == ["| mlp", "| deep_batchnorm"]
    for row in rows:
        assert row.split(") |")[1] in benchmarks
    with pytest.raises(ValueError, match="no row for Nothing"):
        cost_text("Nothing")


def test_a_missing_section_or_words_are_an_error() -> None:
    text = "# A\n\n```\n# no heading\n```\n\none two\n\n## B\n\nthree\n"
    assert section(text, "A") == "```\n# no heading\n```\n\none two"
    assert section(text, "B") == "three"
    assert between("one two three", "two", None) == "two three"
    assert between("one two three", None, "two") == "one"
    with pytest.raises(ValueError, match="no section is called 'no heading'"):
        section(text, "no heading")
    with pytest.raises(ValueError, match="no such words: 'four'"):
        between(text, "four", None)


def test_links_are_those_of_the_page() -> None:
    text = "[rules](callbacks/README.md#the-rules) [a](configs/a.yaml) ![b](docs/b.png) [c](https://c.org) [d](#d)"
    assert with_links(text, "README.md", "docs/api/x.md") == (
        "[rules](../rules.md) a ![b](../b.png) [c](https://c.org) [d](#d)"
    )
    name = "[benchmarks/README.md](../benchmarks/README.md)"
    assert with_links(name, "docs/x.md", "docs/x.md") == "[](benchmarks.md)"


def test_one_command_builds_the_pages() -> None:
    command = re.compile(
        r"^python -m pip install .* python -m sphinx .*$", re.MULTILINE
    )
    files = [ROOT / "CONTRIBUTING.md", DOCS / "README.md"]
    commands = {each for file in files for each in command.findall(file.read_text())}
    assert len(commands) == 1
    assert " -W -b html docs docs/_build/html" in commands.pop()


def test_the_citation_names_the_version() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.*)"', project, re.MULTILINE)
    assert version
    assert f"\nversion: {version[1]}\n" in (ROOT / "CITATION.cff").read_text()
