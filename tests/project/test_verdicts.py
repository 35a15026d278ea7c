"""Tests of the counts of `benchmarks/verdicts.py`, on reports and losses made up here."""

import io
from typing import Any

import pytest
from rich.console import Console

pytest.importorskip("sklearn", reason="most data of the zoo are scikit-learn's")

from zoo.harm import Harm
from zoo.outcome import Outcome
from zoo.peers.peer import rule_of
from zoo.score import scores
from zoo.tables import case_table, false_alarm_table, missed_table


def finding(
    rule: str, where: str, severity: str = "fail", step: int = 0
) -> dict[str, Any]:
    return {"rule": rule, "where": where, "severity": severity, "step": step} | {
        "last_step": step,
        "value": 2.0,
        "limit": 1.0,
        "message": f"{rule} at {where}",
    }


def outcome(
    kind: str, verdict: str, *findings: dict[str, Any], **fields: Any
) -> Outcome:
    expected: dict[str, Any] = (
        {"rules": ["dead_units"], "places": ["net.fc1"]} if kind != "healthy" else {}
    )
    return Outcome(
        kind, "case", "model", 1, verdict, list(findings), **expected | fields
    )


class TestCounts:
    """Counts of the table on reports made up here."""

    def test_rule_and_place(self) -> None:
        right = outcome("fault", "fail", finding("dead_units", "net.fc1.bias"))
        assert (right.is_noticed, right.has_rule, right.has_place, right.has_both) == (
            True,
        ) * 4

    def test_rule_and_place_in_two_findings(self) -> None:
        apart = outcome(
            "fault",
            "fail",
            finding("dead_units", "net.fc2"),
            finding("symmetry", "net.fc1"),
        )
        assert apart.has_rule
        assert apart.has_place
        assert not apart.has_both

    def test_names_that_begin_alike_are_no_place(self) -> None:
        assert not outcome("fault", "fail", finding("dead_units", "net.fc11")).has_place

    def test_whole_model_is_no_layer(self) -> None:
        anywhere = outcome(
            "fault", "fail", finding("dead_units", "net.fc2"), places=[""]
        )
        assert not anywhere.has_place
        assert outcome(
            "fault", "fail", finding("dead_units", ""), places=[""]
        ).has_place

    def test_notes_do_not_count(self) -> None:
        note = outcome("fault", "ok", finding("dead_units", "net.fc1", "note"))
        assert not note.has_rule
        assert not note.is_noticed

    def test_only_the_three_most_severe_count(self) -> None:
        others = [finding("symmetry", f"net.fc{number}") for number in (2, 3, 4)]
        last = finding("dead_units", "net.fc1")
        assert outcome("fault", "fail", *others[:2], last).has_both
        assert not outcome("fault", "fail", *others, last).has_rule

    @pytest.mark.parametrize(
        ("step", "where", "right"),
        [(137, "net.fc1", True), (138, "net.fc1", False), (137, "net.fc2", False)],
    )
    def test_first_nan(self, step: int, where: str, right: bool) -> None:
        later = finding("nonfinite", "net.fc1", step=150)
        first = finding("nonfinite", where, step=step)
        nan = outcome("fault", "fail", later, first, nan_steps=[137])
        assert nan.has_first_nan is right

    def test_totals(self) -> None:
        outcomes = [
            outcome("healthy", "ok"),
            outcome("healthy", "warn", finding("dead_units", "a", "warn")),
            outcome(
                "healthy", "fail", finding("dead_units", "a"), finding("b", "a", "warn")
            ),
            outcome("healthy", "ok", finding("dead_units", "a", "note")),
            outcome("fault", "fail", finding("dead_units", "net.fc1")),
            outcome("fault", "warn", finding("symmetry", "net.fc1", "warn")),
            outcome("fault", "ok"),
            outcome("fault", "error", nan_steps=[1]),
            outcome("mutation", "fail", finding("dead_units", "")),
        ]
        counts = {
            name: (each.count, each.total) for name, each in scores(outcomes).items()
        }
        assert counts == {
            "faults found": (2, 4),
            "faults with the right rule": (1, 4),
            "faults at the right place": (2, 4),
            "faults with both in one finding": (1, 4),
            "mutations found": (1, 1),
            "mutations with the right rule": (1, 1),
            "mutations at the right place": (0, 1),
            "mutations with both in one finding": (0, 1),
            "first NaN layer and step": (0, 1),
            "healthy with a fail": (1, 4),
            "healthy with a warn": (2, 4),
            "runs that raised": (1, 9),
        }

    def test_tables_name_what_is_missed(self) -> None:
        outcomes = [
            outcome("healthy", "warn", finding("dead_units", "net.fc3", "warn")),
            outcome("fault", "ok"),
        ]
        console = Console(width=200, file=io.StringIO(), record=True)
        for table in (case_table, missed_table, false_alarm_table):
            console.print(table(outcomes))
        text = console.export_text()
        assert "dead_units at net.fc3" in text
        assert "case@model" in text


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Activation saturation in net.head", "saturation"),
        ("Dead units in net.act2", "dead_units"),
        ("Vanishing gradients detected", "gradient_scale"),
        ("Stagnant weight norms", "loss_stalls"),
        ("NaN or Inf detected", "nonfinite"),
        ("Redundant bias before norm", "bias_before_norm"),
        ("Even kernel size", "Even kernel size"),
    ],
)
def test_words_of_other_packages(text: str, rule: str) -> None:
    assert rule_of(text) == rule


class TestHarm:
    """Kinds of harm, on losses made up here."""

    SOUND = (2.0, *[1.0] * 60)

    @pytest.mark.parametrize(
        ("losses", "kind"),
        [
            ([2.0, *[1.0] * 60], "none"),
            ([2.0, *[1.5] * 60], "end"),
            ([9.0, *[1.0] * 60], "start"),
            ([2.0, *[1.5] * 30, *[1.0] * 30], "way"),
            ([2.0, float("nan")], "nan"),
            ([2.0, *[-1.0] * 60], "improper"),
        ],
    )
    def test_kind(self, losses: list[float], kind: str) -> None:
        assert Harm("case", False, list(self.SOUND), losses).kind == kind

    def test_silent(self) -> None:
        assert Harm("case", True, list(self.SOUND), list(self.SOUND)).kind == "silent"
