"""Tests of the due steps and of the rarer steps of pictures."""

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


def test_pictures_become_rare_but_never_end() -> None:
    drawn = [
        step
        for step in range(0, 20_000, 10)
        if Schedule(10, dense_start=True).draws(step)
    ]
    assert drawn == [0, 10, 40, 160, 640, 2560, 5000, 10_000, 10_240, 15_000]
    assert all(Schedule(10, dense_start=True).is_due(step) for step in drawn)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "10", True, None])
def test_refuses_what_is_no_positive_whole_number(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"every_n_steps must be .* 1 or more, got"):
        Schedule(wrong, dense_start=True)  # type: ignore[arg-type]
