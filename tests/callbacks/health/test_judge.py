"""Tests of the judge: windows, hysteresis, severities that never fall, what is ignored, and state."""

import json
from typing import Any

import pytest
from made_up_steps import STEPS, findings, observation, tanh, training

from callbacks.health.judge import Judge


def saturated_at(*steps: int) -> Any:
    return lambda step: {"act": tanh(saturated=0.7 if step in steps else 0.1)}


def test_one_odd_step_is_no_finding() -> None:
    assert not findings(training(layers=saturated_at(4)))
    assert not findings(training(layers=saturated_at(4, 16, 64)))


def test_a_finding_begins_at_the_first_of_its_steps() -> None:
    (finding,) = findings(training(layers=saturated_at(4, 8, 16)))
    assert (finding.step, finding.last_step) == (4, 16)
    assert finding.value == pytest.approx(0.7)
    assert finding.limit == 0.6


def test_a_finding_comes_back_under_its_own_name() -> None:
    (finding,) = findings(training(layers=saturated_at(1, 2, 100, 150)))
    assert (finding.step, finding.last_step) == (1, 150)


def test_severity_never_falls() -> None:
    def layers(step: int) -> Any:
        return {"act": tanh(saturated=0.7 if step < 8 else 0.4)}

    (finding,) = findings(training(layers=layers))
    assert finding.severity == "fail"
    assert finding.last_step == STEPS[-1]


def test_counts_are_there_from_the_first_time_on() -> None:
    judge = Judge()
    counts = []
    for each in training(layers=saturated_at(2, 4)):
        judge.judge(each)
        counts.append(judge.counts.get("saturation"))
    assert counts[:5] == [None, None, None, 1, 0]


def test_places_are_counted() -> None:
    judge = Judge()
    layers = {name: tanh(saturated=0.7) for name in ("first", "second")}
    for each in training(layers=layers):
        judge.judge(each)
    assert judge.counts["saturation"] == 2


@pytest.mark.parametrize(
    ("ignore", "places"),
    [
        ([], {"first", "second"}),
        (["saturation"], set()),
        (["saturation:sec*"], {"first"}),
        (["dead_units"], {"first", "second"}),
    ],
)
def test_rules_and_places_can_be_ignored(ignore: list[str], places: set[str]) -> None:
    layers = {name: tanh(saturated=0.7) for name in ("first", "second")}
    assert {
        each.where for each in findings(training(layers=layers), ignore=ignore)
    } == places


def test_a_resumed_run_goes_on_with_its_report() -> None:
    observations = training(layers=saturated_at(4, 8))
    whole, first, second = Judge(), Judge(), Judge()
    for each in observations:
        whole.judge(each)
    for each in observations[:7]:
        first.judge(each)
    second.load_state(json.loads(json.dumps(first.state())))
    for each in observations[7:]:
        second.judge(each)
    assert second.report == whole.report


def test_a_resumed_run_does_not_judge_its_first_step_as_the_first() -> None:
    first, second = Judge(), Judge()
    first.judge(observation(0))
    second.load_state(first.state())
    second.judge(
        observation(
            500, loss=0.2, layers={"act": tanh(), "b": tanh(std=50.0), "c": tanh()}
        )
    )
    assert second.report.verdict == "ok"


def test_the_report_sorts_by_severity_and_then_by_step() -> None:
    layers = {"act": tanh(saturated=0.7)}
    report_order = findings(
        training(layers=layers, biases_before_norms=("a.bias",), foreign=1)
    )
    assert [each.severity for each in report_order] == ["fail", "warn", "note"]
