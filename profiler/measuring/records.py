"""What a journal records of a sweep, and the checks of what is read back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from profiler.errors import MeasurementError
from profiler.flags import Flag
from profiler.measuring.stopping import Decision
from profiler.printable import shown

Kernels = tuple[tuple[str, float | None], ...]  # key and share of latency, in order

HUNG = "hung"  # the reason of a failure that ended its process


def hung() -> MeasurementError:
    """Of what never came back from its runtime."""
    return MeasurementError("the runtime did not come back, and its process was ended", reason=HUNG)


@dataclass(frozen=True, slots=True)
class Block:
    """One measurement: samples of one configuration, with the canary that preceded it."""

    name: str
    started_s: float
    spent_s: float
    runs: int
    samples_ms: tuple[float, ...]
    canary: str = ""
    canary_ms: float | None = None
    flags: tuple[str, ...] = ()
    sweep: int = 0
    epoch: str = ""

    @property
    def throttled(self) -> bool:
        """Discarded: kept here, counted, and left out of every statistic."""
        return Flag.THROTTLED.among(self.flags)


def counted(blocks: Sequence[Block]) -> list[Block]:
    """What a latency is made of: the blocks that were not throttled, or all where each was."""
    return [block for block in blocks if not block.throttled] or list(blocks)


@dataclass(frozen=True, slots=True)
class Condition:
    """What a device told of itself after a block; None where it cannot."""

    at_s: float  # since the sweep began
    temperature_c: float | None
    clock_mhz: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    sweep: int
    name: str
    decision: Decision
    message: str = ""
    epoch: str = ""

    @classmethod
    def failure(cls, sweep: int, name: str, error: MeasurementError) -> Outcome:
        return cls(sweep, name, Decision.FAILED, f"{error.reason}: {error}")

    @property
    def failed(self) -> bool:
        return self.decision is Decision.FAILED

    @property
    def hung(self) -> bool:
        """It failed, and would end the next process too."""
        return self.failed and self.message.partition(":")[0] == HUNG


@dataclass(frozen=True, slots=True)
class SweepTimes:
    """Where a sweep's time went beside its blocks."""

    wall_s: float = 0.0
    warm_up_s: float = 0.0
    waited_s: float = 0.0
    steady: bool = True  # whether the warm-up reached a steady state


@dataclass(frozen=True, slots=True)
class SweepReport:
    """Where the time of one or several sweeps went."""

    wall_s: float = 0.0
    measuring_s: float = 0.0
    waited_s: float = 0.0
    n_blocks: int = 0
    steady: bool = True

    def __add__(self, other: SweepReport) -> SweepReport:
        return SweepReport(
            self.wall_s + other.wall_s,
            self.measuring_s + other.measuring_s,
            self.waited_s + other.waited_s,
            self.n_blocks + other.n_blocks,
            self.steady and other.steady,
        )


def block_of_row(
    name: str, started_s: Any, spent_s: Any, runs: int, samples: str, canary: str, canary_ms: Any,
    flags: str, sweep: int, epoch: str,
) -> Block:  # fmt: skip
    """A row of the journal's blocks.

    Raises:
        ValueError, TypeError: values that no measurement gives.
    """
    samples_ms, flagged = json.loads(samples), json.loads(flags)
    if not isinstance(samples_ms, list) or not all(
        isinstance(ms, (int, float)) for ms in samples_ms
    ):
        raise ValueError(f"samples {shown(samples_ms)}")
    if not isinstance(flagged, list) or not all(isinstance(flag, str) for flag in flagged):
        raise ValueError(f"flags {shown(flagged)}")
    return Block(
        name, stored_time(started_s), stored_time(spent_s), runs, tuple(samples_ms), canary,
        known(canary_ms), tuple(flagged), sweep, epoch,
    )  # fmt: skip


def stored_time(value: Any) -> Any:
    """A time as it was stored.

    Raises:
        ValueError: not a finite number of at least 0.
    """
    if not 0 <= _number(value) < math.inf:
        raise ValueError(f"{shown(value)} for a time")
    return value


def known(value: Any) -> Any:
    """A number as it was stored; None where there was none.

    Raises:
        ValueError: text or bytes.
    """
    return None if value is None else _number(value)


def _number(value: Any) -> Any:
    if not isinstance(value, (int, float)):
        raise ValueError(f"{shown(value)} for a number")
    return value


def kernels_of(text: str) -> Kernels:
    """Kernels with their shares, as JSON.

    Raises:
        ValueError, TypeError: no pairs of a key and a share or null.
    """
    kernels = tuple((key, known(share)) for key, share in json.loads(text))
    if not all(isinstance(key, str) for key, _ in kernels):
        raise ValueError(f"kernels {shown(kernels)}")
    return kernels
