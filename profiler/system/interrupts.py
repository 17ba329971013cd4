"""Interrupts of a process that another one began: it leaves its devices as they were found."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def passed_on() -> Iterator[None]:
    """Within, SIGTERM interrupts as Ctrl-C does; what comes afterwards is nothing.

    Who began this process passes its own interrupts on as SIGTERM. A terminal's Ctrl-C has come
    by then: what follows does not disturb who leaves already. A second Ctrl-C is meant, and does.

    Raises:
        KeyboardInterrupt: a signal came.
    """
    came: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        if number == signal.SIGINT or len(came) == 1:
            raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
