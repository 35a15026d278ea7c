"""Tests of the guard that keeps exceptions of the observation out of the training."""

import pytest

from callbacks.probe.guard import Guard


def test_returns_the_result() -> None:
    guard = Guard()
    assert guard.safely(max, 2, 5) == 5
    assert guard.error is None


def test_keeps_the_first_exception_and_calls_nothing_after_it() -> None:
    guard, calls = Guard(), []
    assert guard.safely(lambda: 1 / 0) is None
    assert guard.safely(calls.append, 1) is None
    assert guard.safely(int, "x") is None
    assert isinstance(guard.error, ZeroDivisionError)
    assert calls == []


def test_lets_ctrl_c_through() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    guard = Guard()
    with pytest.raises(KeyboardInterrupt):
        guard.safely(interrupted)
    assert guard.error is None
