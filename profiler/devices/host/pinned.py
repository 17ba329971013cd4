"""Cores of this machine held for a measurement: what every backend of the host shares."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack

from profiler.devices.base import DeviceBase, DeviceInfo, DeviceState
from profiler.devices.host import monitor
from profiler.errors import DeviceUnavailableError
from profiler.measuring.protocol import HOST_LIMITS
from profiler.system.lock import HOST_CPU, device_lock


class PinnedHost(DeviceBase):
    """The quietest `threads` cores: locked, and this process pinned to them, until `close`.

    Raises:
        DeviceUnavailableError: fewer cores are allowed than threads were asked for, or another
            process measures on them.
    """

    info: DeviceInfo
    min_sample_ms = 2.0
    uses_canary = True

    def __init__(self, threads: int, *, wall_clock: bool) -> None:
        self._allowed = monitor.allowed_cores()
        if threads > len(self._allowed):
            raise DeviceUnavailableError(
                f"{threads} threads asked for, but this process may use {len(self._allowed)} cores"
            )
        self.threads = threads
        self.clock_ns = monitor.sample_clock(threads, wall=wall_clock)
        self._undo = ExitStack()
        self._undo.enter_context(device_lock(HOST_CPU))
        self.cores = monitor.quietest_cores(threads)
        pin(self.cores)  # worker threads inherit the affinity of the thread that starts them
        self._undo.callback(pin, self._allowed)
        self._monitor = monitor.HostMonitor(self.cores)

    def describe(
        self, platform: str, runtime: str, runtime_version: str, *,
        precision: str, batch_size: int, options: dict[str, str],
    ) -> DeviceInfo:  # fmt: skip
        """DeviceInfo of a runtime on these cores; its spec is the platform's name."""
        return DeviceInfo(
            spec=platform,
            platform=platform,
            model=monitor.cpu_model(),
            runtime=runtime,
            runtime_version=runtime_version,
            threads=self.threads,
            precision=precision,
            batch_size=batch_size,
            n_cores=os.cpu_count(),
            affinity=self.cores,
            max_clock_mhz=monitor.max_clock_mhz(),
            os_release=os.uname().release,
            boot_id=monitor.boot_id(),
            options=tuple(sorted({"clock": monitor.clock_name(self.clock_ns), **options}.items())),
        )

    @property
    def other_cores(self) -> tuple[int, ...]:
        """Those that this process may use and does not measure on."""
        return tuple(core for core in self._allowed if core not in self.cores)

    def state(self) -> DeviceState:
        return self._monitor.state()

    def blockers(self) -> Sequence[str]:
        state, limits = self._monitor.state(), HOST_LIMITS
        found = []
        if state.steal_pct is not None and state.steal_pct > limits.steal_pct:
            found.append(f"the hypervisor takes {state.steal_pct:.0f} % of the core (steal)")
        if state.cpu_pressure_pct is not None and state.cpu_pressure_pct > limits.pressure_pct:
            found.append(f"tasks wait for a core {state.cpu_pressure_pct:.0f} % of the time (PSI)")
        return found

    def close(self) -> None:
        self._undo.close()


def pin(cores: tuple[int, ...]) -> None:
    """Keep this process, and what it starts from now on, to these cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
