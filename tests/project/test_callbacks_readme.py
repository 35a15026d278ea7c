"""Tests that the README of the callbacks says what the callbacks do."""

import inspect
import re
from pathlib import Path

import pytest
from fits import ALL, Regression, every_step, fit, tanh_net
from made_up_trainings import SICK

from callbacks.health.catalogue import NAMES, RULES
from callbacks.measure.formats import FORMATS

ROOT = Path(__file__).parents[2]
README = (ROOT / "callbacks" / "README.md").read_text()


def section(title: str) -> str:
    found = re.search(rf"## {title}\n(.*?)(?=\n## |\Z)", README, re.DOTALL)
    assert found
    return found[1]


def first_cells(title: str) -> list[str]:
    """Returns the first cells of the rows of a section's table."""
    rows = re.findall(r"^\| (.*?) \|", section(title), re.MULTILINE)
    return rows[1:]


def test_lists_every_argument_with_its_default() -> None:
    listed = dict(
        re.findall(r"^\| `(\w+)` \| (\S+) \|", section("Arguments"), re.MULTILINE)
    )
    arguments: dict[str, str] = {}
    for kind in ALL:
        for name, parameter in inspect.signature(kind).parameters.items():
            arguments[name] = str(parameter.default)
    assert listed == arguments


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lists_every_tag() -> None:
    cells = " ".join(first_cells("What is written"))
    listed = {tag.split("/")[0] for tag in re.findall(r"`([\w/{}., ]+)`", cells)}
    instruments = every_step(ALL)
    # With weights beyond the largest number of e4m3, since a number that is always zero is not written.
    net = tanh_net()
    net[0].weight.data *= 2000  # type: ignore[operator]
    fit(lambda: Regression(net), instruments, max_steps=2)
    written = {"nonfinite", "overview", "Overview"}
    for instrument in instruments:
        written |= set(instrument.logged(instrument.latest))  # type: ignore[attr-defined]
        written |= set(instrument._last_plots)  # type: ignore[attr-defined]
    prefixes = {re.sub(f"^({'|'.join(FORMATS)})_", "{format}_", tag) for tag in written}
    assert listed == {tag.split("/")[0] for tag in prefixes}


def test_reads_no_other_tags() -> None:
    tags = " ".join(first_cells("What is written"))
    for cell in first_cells("How to read it"):
        for tag in re.findall(r"`([\w/]+)`", cell):
            assert tag in tags


def test_quotes_messages_as_they_are() -> None:
    code = "".join(path.read_text() for path in ROOT.glob("callbacks/**/*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # strings over several lines
    quotes = re.findall(r'"([^"`]+)"', " ".join(first_cells("Troubleshooting")))
    assert len(quotes) >= 3
    for quote in quotes:
        for part in re.split(r" ?\.\.\. ?", quote):
            assert part in code, part


def test_names_the_version() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.*)"', project, re.MULTILINE)
    assert version
    assert f"Version {version[1]}," in README
    assert f"## {version[1]}\n" in (ROOT / "CHANGELOG.md").read_text()


RULE_ROWS = re.findall(
    r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", section("The rules"), re.MULTILINE
)
"""Name, what is judged, limits and remedy of each rule."""


def severities_in(words: str) -> set[str]:
    """Returns the severities that a text names; a "warning" is warn."""
    return set(re.findall(r"\b(note|warn|fail)(?:ing)?\b", words))


def test_lists_every_rule_with_its_limits() -> None:
    assert [name for name, *_ in RULE_ROWS] == list(NAMES)
    for rule, (_, measures, limits, remedy) in zip(RULES, RULE_ROWS, strict=True):
        assert measures == rule.measures
        assert remedy == rule.remedy
        numbers = {
            f"{limit:g}"
            for each in rule.limits.values()
            for limit in (each.warn, each.fail)
            if limit is not None
        }
        assert numbers <= set(re.findall(r"-?[\d.]+", limits.replace("+", ""))) | {
            "10000"
        }


@pytest.mark.parametrize(
    ("name", "limits"), [(row[0], row[2]) for row in RULE_ROWS], ids=list(NAMES)
)
def test_severities_are_those_that_a_rule_gives(name: str, limits: str) -> None:
    """Tests of the rules hold `SICK` to what each rule finds, and to all that its code names."""
    sick = [each for each in SICK if each.rule == name]
    assert severities_in(limits) == {each.severity for each in sick}
    facts: dict[str, set[str]] = {}
    for clause in limits.split("; "):
        if not re.search(r"[<>]", clause):
            case, _, severity = clause.rpartition(": ")
            is_word = severity in ("note", "warn", "fail")
            facts[case if is_word else clause] = severities_in(severity)
    # Each fact without a number has the severity that the README says, and no other training has a case of its own.
    for case, severities in facts.items():
        assert {each.severity for each in sick if each.case == case} == severities
    assert {each.case for each in sick} - {""} <= facts.keys()
