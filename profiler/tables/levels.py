"""What a table may hold of its samples beside the latency: tails, and what is left under load."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field


class Statistic(StrEnum):
    """What a table's latencies are. The others are of raw samples, each named by its protocol."""

    LATENCY = "latency"  # the protocol's estimate, which disturbances move least
    P50 = "p50"
    P90 = "p90"
    P99 = "p99"
    FIRST_MINUTE = "first_minute"
    SUSTAINED = "sustained"


def _rising(interval: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= interval[0] <= interval[1]:
        raise ValueError("an interval of latencies rises from 0 or more")
    return interval


IntervalMs = Annotated[tuple[float, float], AfterValidator(_rising)]
Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, slots=True)
class Level:
    """A statistic of samples as they were read; no interval where too few blocks carry one."""

    latency_ms: Positive
    ci95_ms: IntervalMs | None


@dataclass(frozen=True, slots=True)
class Change:
    """The level of all configurations moved together.

    Attributes:
        at_s: since the load began.
        ratio: the level until the next change, over the first minute's.
    """

    at_s: Annotated[float, Field(ge=0)]
    ratio: Positive


@dataclass(frozen=True, slots=True)
class Load:
    """How a device bore a sweep without pauses; all lists are by window.

    Attributes:
        minutes: how long it went on.
        times_s: when each window began; windows in which nothing was measured are left out.
        ratios: latency of all configurations together, over the first minute's.
        temperatures_c, clocks_mhz: means of what was read; None where nothing was.
        end_ratio: the level at the end, over the first minute's.
    """

    minutes: Positive
    times_s: tuple[Annotated[float, Field(ge=0)], ...]
    ratios: tuple[Positive, ...]
    temperatures_c: tuple[float | None, ...]
    clocks_mhz: tuple[float | None, ...]
    changes: tuple[Change, ...]
    end_ratio: Positive

    def __post_init__(self) -> None:
        lists = (self.ratios, self.temperatures_c, self.clocks_mhz)
        if any(len(one) != len(self.times_s) for one in lists):
            raise ValueError("the lists of a load are by window, and so of one length")


def load_in_words(load: Load) -> str:
    """What a reader of numbers taken under a load should know of it.

    >>> load_in_words(Load(30, (0.0,), (1.0,), (None,), (None,), (Change(240, 1.2),), 1.19))
    '30 minutes of load: +19.0 % at the end over the first minute; changed after 4.0 min to +20.0 %'
    """
    changes = [f"{c.at_s / 60:.1f} min to {100 * (c.ratio - 1):+.1f} %" for c in load.changes]
    course = f"changed after {', '.join(changes)}" if changes else "no change of level"
    end = f"{100 * (load.end_ratio - 1):+.1f} % at the end over the first minute"
    return f"{load.minutes:g} minutes of load: {end}; {course}"
