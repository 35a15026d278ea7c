"""Tests of is_logged_step: the steps of the training metrics."""

import pytest

from makemore_lightning.logged_steps import is_logged_step


def logged(first: int, last: int, every_n_steps: int = 100) -> list[int]:
    return [step for step in range(first, last) if is_logged_step(step, every_n_steps)]


def test_begins_densely() -> None:
    assert logged(0, 301) == [0, 1, 2, 4, 8, 16, 32, 64, 100, 200, 300]


def test_every_multiple_up_to_two_doublings_of_64() -> None:
    assert logged(100, 12_801) == list(range(100, 12_801, 100))


def test_64_points_a_doubling_from_then_on() -> None:
    for start in (12_800, 25_600, 51_200, 102_400):
        assert logged(start, 2 * start) == list(range(start, 2 * start, start // 64))


@pytest.mark.parametrize("every_n_steps", [1, 7, 100])
def test_any_run_has_fewer_points_than_tensorboard_keeps(every_n_steps: int) -> None:
    multiples = [*range(2**20), *(2**power for power in range(20, 64))]
    points = logged(1, every_n_steps, every_n_steps) + [
        multiple
        for multiple in multiples
        if is_logged_step(multiple * every_n_steps, every_n_steps)
    ]
    assert 940 < len(points) < 1000
    assert not is_logged_step((2**20 + 2**14) * every_n_steps, every_n_steps)


def test_an_interval_of_0_logs_nothing() -> None:
    assert logged(0, 10, every_n_steps=0) == []
