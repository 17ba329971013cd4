"""A function called in a new process: nothing of a runtime is warm there, or left behind."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from profiler.errors import MeasurementError

P = ParamSpec("P")
T = TypeVar("T")


def in_fresh_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The function's result; the process runs on the cores of this one.

    Raises:
        MeasurementError: the process was killed.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_be_silent) as process:
        result = process.submit(function, *args, **kwargs)
        try:
            return result.result()
        except BrokenProcessPool:
            raise MeasurementError(
                "the process that ran the model died; is there memory enough?",
                reason="process_died",
            ) from None
        finally:
            if not result.done():  # who waited does so no longer: a deadline, Ctrl-C
                for worker in process._processes.values():
                    worker.kill()


def _be_silent() -> None:
    """Runtimes log from C; what matters is raised, and comes back."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
