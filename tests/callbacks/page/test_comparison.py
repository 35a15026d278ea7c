"""Tests of the comparison of runs: a row a run, settings that differ, and the tables."""

import json
import math

import pytest
from rich.console import Console

from callbacks.page.charts import density_of
from callbacks.page.comparison import differing_settings, row_of
from callbacks.page.losses import losses_of
from callbacks.page.run import Distribution, Run, Series
from callbacks.page.run_table import RunTable
from callbacks.page.twin import as_json, as_markdown

FINDING = {
    "rule": "saturation",
    "severity": "fail",
    "where": "net.1",
    "step": 0,
    "last_step": 100,
    "value": 0.7,
    "limit": 0.6,
    "message": "70% of the outputs are saturated.",
    "remedy": "Scale | the weights down.",
}
HEALTH = {
    "verdict": "fail",
    "summary": "health fail: saturation in net.1 since step 0.",
    "steps": 9,
    "findings": [FINDING],
}


def run_of(name: str = "first", **settings: object) -> Run:
    numbers = {
        "train_loss": Series([0, 100], [3.3, 2.0]),
        "val_loss": Series([0, 100], [3.4, 2.2]),
        "saturation/net.1": Series([0, 100], [0.1, 0.2]),
        "saturation/net.3": Series([0, 100], [0.1, 0.4]),
    }
    return Run(name, f"runs/{name}", numbers, health=HEALTH, settings=settings)


def test_row() -> None:
    row = row_of(run_of())
    assert (row.initial_loss, row.train_loss, row.val_loss) == (3.3, 2.0, 2.2)
    assert row.saturated == pytest.approx(0.3)
    assert (row.dead, row.steps, row.verdict) == (None, 100, "fail")


def test_losses_of_all_data_come_before_those_of_a_batch() -> None:
    run = run_of()
    numbers = {
        **run.numbers,
        "initial/loss": Series([0], [3.31]),
        "final/train_loss": Series([100], [1.9]),
    }
    row = row_of(Run("", "", numbers))
    assert (row.initial_loss, row.train_loss, row.val_loss) == (3.31, 1.9, 2.2)


def test_a_loss_that_was_logged_later_is_not_the_initial_one() -> None:
    numbers = {"train_loss": Series([49, 99], [1.6, 1.2])}
    row = row_of(Run("", "", numbers))
    assert (row.initial_loss, row.train_loss) == (None, 1.2)


@pytest.mark.parametrize("tag", ["loss", "Loss/train", "my_loss", "train/ce_loss"])
def test_losses_by_the_names_that_people_give(tag: str) -> None:
    numbers = {"accuracy": Series([0], [1.0]), tag: Series([0], [2.0])}
    assert list(losses_of(Run("", "", numbers))) == [tag]


def test_settings_that_differ() -> None:
    runs = [
        run_of("first", lr=0.1, width=4, **{"trainer.logger.save_dir": "a"}),
        run_of("second", lr=0.1, depth=2, **{"trainer.logger.save_dir": "b"}),
    ]
    assert differing_settings(runs) == {"width": [4, None], "depth": [None, 2]}


def test_tables_of_both_kinds() -> None:
    runs = [run_of("first", lr=0.1), run_of("second", lr=0.2)]
    table = RunTable([row_of(run) for run in runs], differing_settings(runs))
    assert "| first | 100 | 3.3000 | 2.0000 | 2.2000 | 30.0% | - | fail |" in str(table)
    assert "| lr | 0.1 | 0.2 |" in str(table)
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table)
    assert "3.3000" in capture.get()


def test_json_has_rules_numbers_and_remedies() -> None:
    numbers = {**run_of().numbers, "loss/nan": Series([0], [math.nan])}
    run = Run("first", "runs/first", numbers, health=HEALTH)
    (entry,) = json.loads(as_json([run]))["runs"]
    assert entry["health"]["findings"] == [FINDING]
    assert entry["last"]["saturation/net.3"] == 0.4
    assert "loss/nan" not in entry["last"]


def test_markdown_has_findings() -> None:
    text = as_markdown([run_of()])
    assert "| fail | saturation | net.1 | 0 |" in text
    assert "Scale \\| the weights down." in text


def test_a_density_has_unit_area_and_no_spikes_of_narrow_bins() -> None:
    edges = [-1.0, -0.5, -0.499, 0.0, 1.0]
    density = density_of(Distribution(0, edges, [500, 3, 500, 1000]))
    width = density.values[1] - density.values[0]
    assert density.heights.sum() * width == pytest.approx(0.996, abs=0.01)
    assert density.heights.max() < 0.6


def test_a_density_is_not_stretched_by_a_single_value() -> None:
    density = density_of(Distribution(0, [-1.0, 0.0, 1.0, 1000.0], [500, 500, 1]))
    assert -1 < density.values.min() < -0.9
    assert 0.9 < density.values.max() < 1


def test_a_density_of_equal_values() -> None:
    assert density_of(Distribution(0, [2.0, 2.0], [10])).values.tolist() == [2.0]
