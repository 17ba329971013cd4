"""A launch of a runtime: workloads in a process of its own, where memory lies elsewhere.

Samples are timed there; this process only asks for them, one request at a time.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from profiler.devices.base import (
    DeviceBase,
    DeviceState,
    PreparedWorkload,
    Workload,
)
from profiler.devices.host.monitor import HostMonitor
from profiler.devices.host.pinned import PinnedHost, pin
from profiler.errors import DeviceUnavailableError, MeasurementError
from profiler.measuring.records import hung

Make = Callable[[Workload], PreparedWorkload]
END_S = 5.0


class Launch(DeviceBase):
    """A device of the host, as it is in one process of its runtime.

    That process has the device's cores to itself, where there are others: two that take turns on
    a core wait for each other, and a scheduler counts that as pressure.

    Args:
        host: the device, whose cores this process is pinned to.
        make: loads a workload; called in the new process.
    """

    uses_canary = True

    def __init__(self, host: PinnedHost, make: Make) -> None:
        self.info, self.min_sample_ms = host.info, host.min_sample_ms
        self._cores = host.cores
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, make, host.cores), daemon=True)
        self._process.start()
        theirs.close()
        pin(host.other_cores or host.cores)

    def prepare(self, workload: Workload) -> PreparedWorkload:
        return LaunchedWorkload(self, self.ask("prepare", workload))

    def state(self) -> DeviceState:
        told: DeviceState = self.ask("state")
        return told

    def blockers(self) -> Sequence[str]:
        return ()

    def ask(self, what: str, *arguments: object) -> Any:
        """What the process answers; what it raises is raised here.

        Raises:
            DeviceUnavailableError: the process is gone.
        """
        try:
            self._pipe.send((what, arguments))
            self._wait()
            value = self._pipe.recv()
        except (EOFError, OSError):
            raise DeviceUnavailableError(
                "the process of the runtime died; is there memory enough? Go on with --resume"
            ) from None
        if isinstance(value, Exception):
            raise value
        return value

    def _wait(self) -> None:
        """Until it answers. A deadline interrupts this, never half of an answer.

        Raises:
            MeasurementError: it does not; the process is ended, with all that it held.
        """
        try:
            self._pipe.poll(None)
        except MeasurementError:
            self._process.kill()
            raise hung() from None

    def close(self) -> None:
        pin(self._cores)
        self._pipe.close()  # which ends the process
        self._process.join(END_S)
        if self._process.is_alive():  # it hangs in a run
            self._process.kill()
            self._process.join()


@dataclass(frozen=True, slots=True)
class LaunchedWorkload:
    launch: Launch
    number: int

    def sample_ms(self, runs: int) -> float:
        sample: float = self.launch.ask("sample_ms", self.number, runs)
        return sample

    def close(self) -> None:
        with suppress(DeviceUnavailableError):  # its process ended, and this with it
            self.launch.ask("close", self.number)


class _Served:
    """What the other process holds."""

    def __init__(self, make: Make, cores: tuple[int, ...]) -> None:
        self._make, self._monitor = make, HostMonitor(cores)
        self._held: list[PreparedWorkload] = []

    def prepare(self, workload: Workload) -> int:
        self._held.append(self._make(workload))
        return len(self._held) - 1

    def sample_ms(self, number: int, runs: int) -> float:
        return self._held[number].sample_ms(runs)

    def close(self, number: int) -> None:
        self._held[number].close()

    def state(self) -> DeviceState:
        return self._monitor.state()


def _serve(pipe: Connection, make: Make, cores: tuple[int, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    gc.disable()
    served = _Served(make, cores)
    with suppress(EOFError, OSError):  # the asker is gone
        while True:
            what, arguments = pipe.recv()
            try:
                answer: Any = getattr(served, what)(*arguments)
            except Exception as error:  # whatever it is, it is the asker's
                answer = error
            pipe.send(answer)
