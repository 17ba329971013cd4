"""Raw samples from a device: tried again, bounded in time, and checked before anybody uses them."""

from __future__ import annotations

import gc
import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

from profiler.devices.base import PreparedWorkload
from profiler.errors import MeasurementError
from profiler.printable import shown

T = TypeVar("T")

AGAIN_S = 1.0  # a device that swallows the interruption is interrupted again


@dataclass(frozen=True, slots=True)
class Sampling:
    """A sample is a batch of runs at least as long as the device's clock resolves."""

    op_samples_per_block: int
    network_samples_per_block: int
    max_tries: int  # while loading or a sample fails transiently
    deadline_s: float  # of loading, and of each sample: a device that hangs is a failure
    max_batch_ratio: float  # of a batch's mean to a single run, as a share of the batch's size
    min_batch_ratio: float  # of several runs to the fastest one, whatever each batch costs once
    single_runs: bool = False  # a sample is one run, however short

    def samples_per_block(self, *, is_network: bool) -> int:
        return self.network_samples_per_block if is_network else self.op_samples_per_block

    def runs_per_sample(self, single_ms: float, min_sample_ms: float) -> int:
        if self.single_runs:
            return 1
        return max(1, math.ceil(min_sample_ms / max(single_ms, 1e-6)))

    def returns_totals(self, single_ms: float, batch_ms: float, runs: int) -> bool:
        """Whether a batch takes so much longer than a single run that it cannot be a mean."""
        return runs > 1 and batch_ms > single_ms * max(1.0, self.max_batch_ratio * runs)

    def runs_too_few(self, single_ms: float, batch_ms: float, runs: int) -> bool:
        """Whether a batch whose mean is `batch_ms` cannot have been of so many runs."""
        return runs > 1 and runs * batch_ms < self.min_batch_ratio * single_ms


@dataclass(frozen=True, slots=True)
class Sampler:
    """Asks a device for what the rule allows.

    All methods raise MeasurementError: it failed for good, or more often than is tried, or did
    not answer in time (`deadline`).
    """

    rule: Sampling

    def load(self, action: Callable[[], T]) -> T:
        """What loading a workload gives."""
        return self._tried("loading", action)

    def sample_ms(self, prepared: PreparedWorkload, runs: int) -> float:
        """One sample, a finite number above 0; anything else is a failure (`bad_sample`)."""
        return checked_ms(self._tried("a sample", lambda: prepared.sample_ms(runs)))

    def _tried(self, what: str, action: Callable[[], T]) -> T:
        for _ in range(self.rule.max_tries - 1):
            try:
                with deadline(self.rule.deadline_s, what):
                    return action()
            except MeasurementError as error:
                if not error.transient:
                    raise
        with deadline(self.rule.deadline_s, what):
            return action()


def checked_ms(sample: object) -> float:
    """A sample as a float; numpy's scalars are numbers too.

    >>> checked_ms(2)
    2.0

    Raises:
        MeasurementError: it is no latency (`bad_sample`).
    """
    try:
        value = float(sample)  # type: ignore[arg-type]  # whatever a device returned
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if isinstance(sample, str | bytes | bool) or not 0 < value < math.inf:
        raise MeasurementError(f"the device returned {shown(sample)} ms", reason="bad_sample")
    return value


@contextmanager
def deadline(seconds: float, what: str) -> Iterator[None]:
    """End what hangs in Python or in a system call; a runtime's own loop is the watchdog's.

    By the timer signal, which only a main thread can take: elsewhere there is no deadline.

    Raises:
        MeasurementError: it took longer (`deadline`).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise MeasurementError(f"{what} took longer than {seconds:g} s", reason="deadline")

    before = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, min(seconds, AGAIN_S))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, *timer)  # somebody else's, such as a test's


@contextmanager
def without_gc() -> Iterator[None]:
    """Collect garbage before, not during, the samples."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
