"""Errors that users meet: each is one clear line, and names its exit code."""

from __future__ import annotations

from functools import partial
from typing import Any


class PnagError(Exception):
    """Base of all expected errors; `exit_code` is what the command line returns.

    The message is one line, also where it quotes a library's of several.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(" ".join(message.splitlines()))


class DemandError(PnagError):
    """What was made or read is sound, but not what the command line demands of it."""


class InvalidInputError(PnagError):
    """The user's input (an option, a file, an architecture) is wrong."""

    exit_code = 2


class InfeasibleBudgetError(PnagError):
    """No architecture of the space fits the budget or the constraints."""

    exit_code = 3


class DeviceUnavailableError(PnagError):
    """The device cannot be measured now (absent, busy, locked, not permitted)."""

    exit_code = 4


class MeasurementError(PnagError):
    """A measurement gave no trustworthy number; recorded as a failure, never as 0.

    Attributes:
        reason: short machine-readable cause, e.g. ``"nonzero_exit"``.
        transient: whether the same measurement may succeed when tried again.
    """

    def __init__(self, message: str, *, reason: str, transient: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.transient = transient

    def __reduce__(self) -> tuple[Any, ...]:
        """So that it comes back whole from a worker process."""
        rebuild = partial(type(self), reason=self.reason, transient=self.transient)
        return rebuild, self.args
