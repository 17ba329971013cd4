"""Several devices in one command: what does not disturb each other is measured at once.

Each device elsewhere has a process of its own. An interrupt is passed on to every one of them, and
each then leaves its device as it was found. A device that fails does not touch the others.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from profiler.devices.registry import backend_of
from profiler.errors import MeasurementError
from profiler.measuring.campaign import ProfileRequest, profile_device
from profiler.measuring.kernels import profile_kernels
from profiler.spaces.networks import SingleKernels
from profiler.system.interrupts import passed_on
from profiler.system.lock import device_lock
from profiler.system.streams import open_streams
from profiler.terminal import Terminal


@dataclass(frozen=True)
class Profiled:
    """What several devices gave: the tables, and the first failure in the order of the requests."""

    tables: tuple[Path, ...]
    failure: Exception | None = None


def profile_devices(requests: Sequence[ProfileRequest], terminal: Terminal) -> Profiled:
    """Measure all requests.

    Phones and devices of a fleet run at once, one setting of each after the other. Devices of this
    computer share its cores, so that they take their turns, after the others.

    Raises:
        DeviceUnavailableError: another process measures some of the same tables; nothing was done.
    """
    with ExitStack() as held:
        for name in sorted({f"profile {request.out.resolve()}" for request in requests}):
            held.enter_context(device_lock(name))  # or else each of two would get some of them
        return _profile_all(requests, terminal)


def _profile_all(requests: Sequence[ProfileRequest], terminal: Terminal) -> Profiled:
    lines = Terminal(terminal.json_output, terminal.quiet, live=False)
    apart = sum(map(_is_elsewhere, requests)) > 1
    outcomes: dict[int, Path | Exception] = {}
    titles = _titles(requests)
    for at_once in rounds_of(requests):
        with _processes() as processes:
            results: list[Callable[[], Path]] = [
                _begin(request, lines, titles[id(request)], processes)
                if apart and _is_elsewhere(request)
                else partial(_profile, request, terminal, titles[id(request)])
                for request in at_once
            ]
            for request, result in zip(at_once, results, strict=True):
                try:
                    outcomes[id(request)] = result()
                except Exception as error:  # of whatever kind: the others are measured all the same
                    outcomes[id(request)] = error
                    if len(requests) > 1:
                        terminal.note(f"{request.spec}: {error}")
    ordered = [outcomes[id(request)] for request in requests]
    failures = [outcome for outcome in ordered if isinstance(outcome, Exception)]
    return Profiled(
        tuple(outcome for outcome in ordered if isinstance(outcome, Path)),
        failures[0] if failures else None,
    )


def _titles(requests: Sequence[ProfileRequest]) -> dict[int, str]:
    """What is said when each begins; one alone needs no number."""
    if len(requests) == 1:
        return {id(requests[0]): ""}
    return {
        id(request): f"table {number} of {len(requests)}: {request.out}"
        for number, request in enumerate(requests, 1)
    }


def _is_elsewhere(request: ProfileRequest) -> bool:
    return request.fleet is not None or not backend_of(request.spec).shares_host


def rounds_of(requests: Sequence[ProfileRequest]) -> list[list[ProfileRequest]]:
    """What is measured at once: one setting of each device elsewhere; of this computer's, one."""
    turns: Counter[str] = Counter()
    elsewhere: dict[int, list[ProfileRequest]] = defaultdict(list)
    for request in filter(_is_elsewhere, requests):
        elsewhere[turns[request.spec]].append(request)
        turns[request.spec] += 1
    return [*elsewhere.values(), *([one] for one in requests if not _is_elsewhere(one))]


def _profile(request: ProfileRequest, terminal: Terminal, title: str) -> Path:
    if title:
        terminal.note(title)
    of_space = profile_kernels if isinstance(request.space, SingleKernels) else profile_device
    return of_space(request, terminal)


@contextmanager
def _processes() -> Iterator[list[ProcessPoolExecutor]]:
    """Of what is measured at once. All have ended afterwards; an interrupt ends them early."""
    pools: list[ProcessPoolExecutor] = []
    try:
        yield pools
    except BaseException:
        for pool in pools:
            for worker in list(pool._processes.values()):
                worker.terminate()
        raise
    finally:
        for pool in pools:
            pool.shutdown()


def _begin(
    request: ProfileRequest, terminal: Terminal, title: str, pools: list[ProcessPoolExecutor]
) -> Callable[[], Path]:
    """Measure in a process of its own; what is returned waits for it."""
    spawn = multiprocessing.get_context("spawn")
    pools.append(ProcessPoolExecutor(1, mp_context=spawn, initializer=open_streams))
    running = pools[-1].submit(_profile_apart, request, terminal, title)

    def result() -> Path:
        error = running.exception()
        if isinstance(error, BrokenProcessPool | KeyboardInterrupt):  # a signal for it alone
            raise MeasurementError(
                f"the process that measured {request.spec} was killed; go on with --resume",
                reason="killed",
            )
        return running.result()

    return result


def _profile_apart(request: ProfileRequest, terminal: Terminal, title: str) -> Path:
    with passed_on():
        return _profile(request, terminal, title)
