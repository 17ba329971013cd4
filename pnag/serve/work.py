"""Generations one at a time, beside the event loop, and no more of them than can be done soon."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from profiler.errors import PnagError

T = TypeVar("T")

MAX_DRAWS = 32_768  # of eight requests of the largest size, about 8 s on one core
LEAST_DRAWS = 128  # what a request counts at least: it holds a connection, too
PATIENCE_S = 30.0


class BusyError(PnagError):
    """More work is waiting than can be done soon."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class AbandonedError(PnagError):
    """Who asked went away."""


class WorkQueue:
    """Work in the order it came, counted in architectures to draw.

    Attributes:
        draws: asked for, and neither done nor given up.
        drawn, spent_s: done, and the time that it took.
        n_abandoned: requests given up by who asked.
    """

    def __init__(self, *, max_draws: int = MAX_DRAWS, patience_s: float = PATIENCE_S) -> None:
        self._max_draws, self._patience_s = max_draws, patience_s
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generate")
        self.draws, self.drawn, self.spent_s, self.n_abandoned = 0, 0, 0.0, 0

    async def run(self, work: Callable[[], T], draws: int, gone: Coroutine[Any, Any, None]) -> T:
        """The result of `work`, which is dropped from the queue once `gone` ends.

        Raises:
            BusyError: too much is waiting already, or its turn did not come in time.
            AbandonedError: `gone` ended first.
        """
        counted = max(draws, LEAST_DRAWS)
        leaving = asyncio.ensure_future(gone)
        try:
            if self.draws and self.draws + counted > self._max_draws:
                raise self._busy("too many requests are waiting")
            job = self._submit(work, counted)
            result = asyncio.wrap_future(job)
            either: set[asyncio.Future[Any]] = {result, leaving}
            await asyncio.wait(
                either, timeout=self._patience_s, return_when=asyncio.FIRST_COMPLETED
            )
            if result.done():
                return result.result()
            job.cancel()  # at once, not when the loop turns: unless it has begun, it never will
            result.cancel()
            if not leaving.done():
                raise self._busy(f"its turn did not come within {self._patience_s:g} s")
            self.n_abandoned += 1
            raise AbandonedError("who asked went away")
        finally:
            leaving.cancel()

    def _submit(self, work: Callable[[], T], counted: int) -> Future[T]:
        def timed() -> T:
            begun = time.perf_counter()
            try:
                return work()
            finally:
                self.spent_s += time.perf_counter() - begun
                self.drawn += counted

        loop = asyncio.get_running_loop()

        def ended(_: Future[T]) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._forget, counted)

        self.draws += counted
        job = self._worker.submit(timed)
        job.add_done_callback(ended)
        return job

    def _forget(self, counted: int) -> None:
        self.draws -= counted

    def _busy(self, why: str) -> BusyError:
        per_draw_s = self.spent_s / self.drawn if self.drawn else 0.0
        wait_s = max(1, math.ceil(per_draw_s * self.draws))
        return BusyError(f"{why}; try again in {wait_s} s", retry_after_s=wait_s)

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)
