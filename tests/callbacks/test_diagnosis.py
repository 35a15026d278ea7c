"""Tests of Diagnosis: JSON, Markdown and the tables for a terminal."""

import json
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from callbacks import Diagnosis, Finding, HealthReport
from callbacks.diagnosis import MOST_ROWS, choose_rows
from callbacks.trial.layer_row import LayerRow

FAILURE = Finding(
    "saturation", "fail", "net.1", 0, 3, 0.7, 0.6, "70% is saturated.", "Scale down."
)
ROWS = (
    LayerRow(
        "net.0",
        "Linear",
        (8, 4),
        1e-9,
        0.5,
        None,
        None,
        0.01,
        "net.0.weight",
        0.1,
        -2.5,
        "ok",
    ),
    LayerRow(
        "net.1", "Tanh", (8, 4), 0.25, 2.0, 0.7, 0.0, 0.1, None, None, None, "fail"
    ),
)
SICK = Diagnosis("Net", HealthReport((FAILURE,), 4), ROWS, 3.25, 1.0, ("a message",))


def printed(diagnosis: Diagnosis, columns: int, patch: pytest.MonkeyPatch) -> list[str]:
    patch.setenv("COLUMNS", str(columns))
    return str(diagnosis).splitlines()


def test_is_frozen_and_knows_its_verdict() -> None:
    assert (SICK.verdict, SICK.findings) == ("fail", (FAILURE,))
    assert Diagnosis("Net", HealthReport()).verdict == "ok"
    with pytest.raises(FrozenInstanceError):
        SICK.model = "Other"  # type: ignore[misc]


def test_json_has_everything_and_no_nan() -> None:
    row = replace(ROWS[0], std=float("nan"), mean=float("inf"))
    sick = replace(SICK, rows=(row, ROWS[1]), initial_loss=float("nan"))
    content = json.loads(sick.to_json())
    assert content["verdict"] == "fail"
    assert content["initial_loss"] is None
    assert content["expected_loss"] == 1.0
    assert content["findings"][0]["rule"] == "saturation"
    assert (content["layers"][0]["std"], content["layers"][0]["mean"]) == (None, None)
    assert content["layers"][1]["saturated"] == 0.7
    assert content["layers"][1]["shape"] == [8, 4]
    assert content["messages"] == ["a message"]


def test_markdown_has_a_row_a_layer() -> None:
    rows = (replace(ROWS[0], layer="a|b"), ROWS[1])
    lines = replace(SICK, rows=rows).to_markdown().splitlines()
    assert (
        "| net.1 | Tanh | 8x4 | 0.25 | 2.00 | 70% | 0% | 0.10 |  |  | fail |" in lines
    )
    assert any(line.startswith("| a\\|b |") for line in lines)
    assert any("saturation" in line for line in lines)


@pytest.mark.parametrize("columns", [20, 80, 100, 200])
def test_text_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "model.encoder.layers.0.attention.self.query_projection.activation"
    rows = tuple(replace(row, layer=f"{long}.{row.layer}") for row in ROWS)
    message = replace(FAILURE, message="word " * 60, where=f"{long}.net.1")
    sick = replace(SICK, rows=rows, report=HealthReport((message,), 4))
    lines = printed(sick, columns, monkeypatch)
    assert max(map(len, lines)) <= max(columns, 80)
    assert sum("net.0" in line or "net.1" in line for line in lines) >= 2


def test_text_says_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(SICK, 80, monkeypatch)
    assert lines[0] == "Net: health fail: saturation in net.1 since step 0."
    assert lines[1].startswith("initial loss 3.25, expected 1.00")
    row = next(line for line in lines if line.startswith("net.1"))
    assert row.split() == ["net.1", "8x4", "0.25", "2.00", "70%", "0%", "0.10", "fail"]
    healthy = next(line for line in lines if line.startswith("net.0"))
    assert healthy.split()[2] == "0"  # a mean far below the standard deviation
    assert "fail  saturation in net.1, since step 0" in lines
    assert "      70% is saturated." in lines
    assert "      Scale down." in lines
    assert "note  a message" in lines


def test_findings_of_one_rule_are_one_paragraph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    findings = [replace(FAILURE, where=f"net.{number}") for number in range(7)]
    findings.append(replace(FAILURE, rule="symmetry"))
    sick = replace(SICK, report=HealthReport(tuple(findings), 4))
    lines = printed(sick, 80, monkeypatch)
    heads = [line for line in lines if line.startswith("fail")]
    assert heads == [
        "fail  saturation in net.0, net.1, net.2, net.3 and 3 more, since step 0",
        "fail  symmetry in net.1, since step 0",
    ]


def test_classes_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any("Tanh" in line for line in printed(SICK, 80, monkeypatch))
    assert any("Tanh" in line for line in printed(SICK, 120, monkeypatch))


def test_several_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        printed(replace(SICK, initial_loss=None), 80, monkeypatch)[1]
        == "no single loss"
    )


def test_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rich = pytest.importorskip("rich.console")
    console = rich.Console(force_terminal=True, color_system="standard", width=80)
    with console.capture() as capture:
        console.print(SICK)
    assert "\x1b[1;31mfail\x1b[0m" in capture.get()
    assert "\x1b[32mok\x1b[0m" in capture.get()


def test_many_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [replace(ROWS[0], layer=f"net.{number}") for number in range(300)]
    rows[151] = replace(rows[151], verdict="warn")
    chosen = choose_rows(rows)
    assert len(chosen) <= MOST_ROWS
    assert rows[151] in chosen
    assert rows[0] in chosen
    lines = printed(replace(SICK, rows=tuple(rows)), 80, monkeypatch)
    assert f"and {300 - len(chosen)} more layers: to_dict()" in lines
    sick = [replace(row, verdict="fail") for row in rows]
    assert len(choose_rows(sick)) == MOST_ROWS


def test_metrics_are_those_of_the_worst_layer() -> None:
    metrics: dict[str, Any] = SICK.metrics()
    assert metrics["verdict"] == "fail"
    assert metrics["largest saturated"] == "70%"
    assert metrics["std, largest / smallest"] == "4.00"
    assert metrics["largest update, log10"] == "-2.5"
    assert metrics["findings"] == "saturation"
    empty = Diagnosis("Net", HealthReport()).metrics()
    assert empty["findings"] == "none"
    assert empty["largest dead"] == ""
