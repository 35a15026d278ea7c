"""Sphinx extension: the rules of HealthCheck, from the catalogue that HealthCheck itself reads.

The line `<!-- rules -->` of a page stands for them.
"""

import re
from typing import TYPE_CHECKING

from excerpts import ROOT, section

from callbacks.health import catalogue
from callbacks.health.catalogue import RULES
from callbacks.health.rule import Limits, Rule

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MARKER = "<!-- rules -->"

README = ROOT / "callbacks" / "README.md"
"""Its table has the severities of rules that judge a fact, which no limit has; a test holds it to the catalogue."""


def rules_text() -> str:
    """Returns a table of all rules and a section for each, as Markdown."""
    rows = [f"| [`{rule.name}`](#{rule.name}) | {rule.measures} |" for rule in RULES]
    table = ["| rule | what is judged |", "|---|---|", *rows]
    sections = [rule_text(rule) for rule in RULES]
    return "\n\n".join(["\n".join(table), *sections])


def rule_text(rule: Rule) -> str:
    """Returns the section of a rule."""
    cells = {
        "Judged": sentence(rule.measures),
        "Limits": limits_text(rule),
        "Why": rule.why,
        "What to do": rule.remedy,
        "Source": rule.source,
    }
    items = [f"**{name}**\n: {text}" for name, text in cells.items()]
    # The label is the rule's name as in findings, with its underscore, which the heading's own anchor would lose.
    return "\n\n".join([f"({rule.name})=", f"## `{rule.name}`", *items])


def sentence(words: str) -> str:
    """Returns words as a sentence."""
    return f"{words[0].upper()}{words[1:]}."


def limits_text(rule: Rule) -> str:
    """Returns the limits of a rule, and the due steps that it asks for."""
    texts = [limit_text(name, limits) for name, limits in rule.limits.items()]
    text = sentence("; ".join(texts or [severities_of(rule)]))
    if rule.hold > 1:
        text += f" For {rule.hold} due steps in a row."
    return text


def severities_of(rule: Rule) -> str:
    """Returns the severities of a rule that judges a fact.

    Raises:
        ValueError: If the README has no row for it.
    """
    text = section(README.read_text(encoding="utf-8"), "The rules")
    row = re.search(rf"^\| `{rule.name}` \| .*? \| (.*?) \|", text, re.MULTILINE)
    if row is None:
        raise ValueError(f"{README} has no row for {rule.name}")
    return f"a fact, not a number: {row[1]}"


def limit_text(name: str, limits: Limits) -> str:
    """Returns one of the limits of a rule.

    Example:
        >>> limit_text("std", Limits(0.3, 0.6))
        '*std*: warn above 0.3, fail above 0.6'
    """
    side = "below" if limits.is_floor else "above"
    severities = {"warn": limits.warn, "fail": limits.fail}
    texts = [
        f"{severity} {side} {limit:g}"
        for severity, limit in severities.items()
        if limit is not None
    ]
    return f"*{name}*: {', '.join(texts)}"


def read_page(app: "Sphinx", docname: str, source: list[str]) -> None:
    """Puts the rules into a page. The page is read again when the catalogue has changed."""
    if MARKER in source[0]:
        app.env.note_dependency(catalogue.__file__)
        source[0] = source[0].replace(MARKER, rules_text())


def setup(app: "Sphinx") -> dict[str, bool]:
    app.connect("source-read", read_page)
    return {"parallel_read_safe": True}
