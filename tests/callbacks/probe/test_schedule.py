"""Tests of the due steps."""

import pytest

from callbacks.probe.schedule import Schedule


def test_without_a_dense_start() -> None:
    schedule = Schedule(7, dense_start=False)
    assert [step for step in range(30) if schedule.is_due(step)] == [0, 7, 14, 21, 28]


def test_dense_start_ends_at_every_n_steps() -> None:
    schedule = Schedule(10, dense_start=True)
    assert [step for step in range(40) if schedule.is_due(step)] == [
        0,
        1,
        2,
        4,
        8,
        10,
        20,
        30,
    ]


def test_every_step() -> None:
    assert all(Schedule(1, dense_start=True).is_due(step) for step in range(50))


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "10", True, None])
def test_refuses_what_is_no_positive_whole_number(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"every_n_steps must be .* 1 or more, got"):
        Schedule(wrong, dense_start=True)  # type: ignore[arg-type]
