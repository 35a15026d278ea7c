"""Numbers of a fit that Python readers get: by tag, complete for a run of usual length, and bounded."""

import copy
import pickle

import pytest
from fits import ALL, Numbers, Regression, every_step, fit, tanh_net

from callbacks import GradStats, Histogram
from callbacks.report.history import FIRST, History

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
)


def regression() -> Regression:
    return Regression(tanh_net())


def test_has_every_number_of_every_due_step() -> None:
    instruments = every_step(figures=False)
    logger = Numbers()
    fit(regression, instruments, logger=logger, max_steps=5)
    for instrument in instruments:
        history: History = instrument.history  # type: ignore[attr-defined]
        numbers = {
            tag: value
            for tag, value in instrument.latest.items()  # type: ignore[attr-defined]
            if not isinstance(value, Histogram)
        }
        assert {tag: history[tag].values[-1] for tag in history} == numbers
        for tag in set(numbers) & set(logger.rows[0][1]):
            steps, values = history[tag]
            assert steps == [0, 1, 2, 3, 4]
            assert values == [row[tag] for _, row in logger.rows]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_is_that_of_the_last_fit(kind: type) -> None:
    instrument = kind(every_n_steps=1, figures=False)
    for length in (4, 2):
        fit(regression, [instrument], max_steps=length)
        assert all(
            len(series.steps) == length for series in instrument.history.values()
        )


def test_survives_a_copy() -> None:
    instrument = GradStats(every_n_steps=1, figures=False)
    fit(regression, [instrument], max_steps=3)
    for twin in (copy.deepcopy(instrument), pickle.loads(pickle.dumps(instrument))):
        assert dict(twin.history) == dict(instrument.history)


def test_is_bounded_and_keeps_the_first_and_the_last_points() -> None:
    history = History(most_points=100)
    for step in range(10_000):
        history.add(step, {"a": float(step)})
        assert len(history["a"].steps) <= 100
    steps, values = history["a"]
    assert steps[:FIRST] == list(range(FIRST))
    assert steps[-1] == 9999
    assert steps == sorted(set(steps)) == values


def test_is_complete_for_the_longest_lesson() -> None:
    history = History()
    for step in range(0, 200_000, 100):
        history.add(step, {"a": 0.0})
    assert len(history["a"].steps) == 2000


def test_names_what_there_is() -> None:
    history = History()
    history.add(0, {"a/x": 1.0, "a/y": 2.0})
    assert repr(history) == "History of 2 tags, 1 steps: a/x, a/y"
    with pytest.raises(KeyError, match="no numbers of 'b'; there are a/x, a/y"):
        history["b"]


def test_loggers_get_no_means_of_gradients_unless_they_are_asked_for() -> None:
    logged = {}
    for means in (False, True):
        logger, instrument = Numbers(), GradStats(means=means)
        fit(regression, [instrument], logger=logger, max_steps=1)
        logged[means] = set(logger.rows[0][1])
        assert set(instrument.history) == logged[means] | {
            tag for tag in instrument.history if "_mean/" in tag
        }
    assert {tag.split("/")[0] for tag in logged[True] - logged[False]} == {
        "activation_grad_mean",
        "weight_grad_mean",
        "weight_mean",
    }
    assert logged[False] < logged[True]


@pytest.mark.parametrize("name", ["means", "figures", "dense_start"])
def test_refuses_what_is_not_true_or_false(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be True or False, got 'yes'"):
        GradStats(**{name: "yes"})  # type: ignore[arg-type]
