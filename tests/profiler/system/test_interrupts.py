"""Signals to a process that another one began, and passes its interrupts on to."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from signal import SIGINT, SIGTERM

import pytest

from profiler.system.interrupts import passed_on


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """As they were, afterwards."""
    before = {number: signal.getsignal(number) for number in (SIGINT, SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", [SIGINT, SIGTERM])
@pytest.mark.parametrize("second", [SIGINT, SIGTERM])
def test_what_is_passed_on_does_not_disturb_who_leaves_already(
    first: signal.Signals, second: signal.Signals
) -> None:
    """A terminal's Ctrl-C reaches both, and is passed on besides; a second one is meant."""
    left = False
    with pytest.raises(KeyboardInterrupt), passed_on():
        try:
            signal.raise_signal(first)
        finally:
            signal.raise_signal(second)
            left = True
    assert left == (second == SIGTERM)


def test_what_comes_when_all_is_done_is_nothing() -> None:
    with passed_on():
        pass
    for number in (SIGINT, SIGTERM):
        signal.raise_signal(number)


def test_ctrl_c_that_whoever_began_it_ignores_is_ignored() -> None:
    signal.signal(SIGINT, signal.SIG_IGN)
    with pytest.raises(KeyboardInterrupt), passed_on():
        signal.raise_signal(SIGINT)
        signal.raise_signal(SIGTERM)  # passed on, by one that was told to
