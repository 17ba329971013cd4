"""State of the machine that measures itself. A value that cannot be read is None, never 0."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from profiler.devices.base import DeviceState
from profiler.numerals import decimal_number, whole_number

PROC = Path("/proc")
CPUFREQ = Path("/sys/devices/system/cpu")
SMALL_PIECE_BYTES = 64 * 1024


def sample_clock(threads: int, *, wall: bool = False) -> Callable[[], int]:
    """Clock in ns that samples are timed with.

    Work of one thread is timed by the CPU time of that thread: it stands still while the
    scheduler runs somebody else on the core and while the hypervisor takes the core away
    (steal), so that a sample is the latency of the work and not of the queue before it.
    On an idle core it equals the wall clock (docs/measuring.md has figures). Several
    threads overlap, so there only the wall clock is a latency, as it is, with `wall`, where
    waiting counts.
    """
    on_cpu = threads == 1 and not wall and hasattr(time, "CLOCK_THREAD_CPUTIME_ID")
    return time.thread_time_ns if on_cpu else time.perf_counter_ns


def clock_name(clock: Callable[[], int]) -> str:
    return "thread_cpu" if clock is time.thread_time_ns else "wall"


def cpu_model() -> str:
    """The processor's name, e.g. ``"AMD EPYC 7763"``."""
    match = re.search(r"^model name\s*:\s*(.+)$", _read(PROC / "cpuinfo") or "", re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()


def boot_id() -> str | None:
    text = _read(PROC / "sys/kernel/random/boot_id")
    return text.strip() if text else None


def max_clock_mhz() -> float | None:
    return _khz_as_mhz(CPUFREQ / "cpu0/cpufreq/cpuinfo_max_freq")


def clock_mhz(core: int) -> float | None:
    """Current frequency by cpufreq; a guest's /proc/cpuinfo only repeats its nominal clock."""
    return _khz_as_mhz(CPUFREQ / f"cpu{core}/cpufreq/scaling_cur_freq")


def governor(core: int = 0) -> str | None:
    text = _read(CPUFREQ / f"cpu{core}/cpufreq/scaling_governor")
    return text.strip() if text else None


def turbo_enabled() -> bool | None:
    text = _read(CPUFREQ / "intel_pstate/no_turbo")
    if text:
        return text.strip() == "0"
    text = _read(CPUFREQ / "cpufreq/boost")
    return text.strip() == "1" if text else None


def smt_active() -> bool | None:
    text = _read(CPUFREQ / "smt/active")
    return text.strip() == "1" if text else None


def is_virtual() -> bool:
    """Whether a hypervisor is below (x86 reports it; elsewhere unknown counts as no)."""
    return re.search(r"^flags\s*:.*\bhypervisor\b", _read(PROC / "cpuinfo") or "", re.M) is not None


def cpu_pressure_pct() -> float | None:
    """Share of the last 10 s in which some task waited for a core (PSI)."""
    match = re.search(r"some avg10=(\S+)", _read(PROC / "pressure/cpu") or "")
    return decimal_number(match[1]) if match else None


def scattered_free_mb() -> float | None:
    """Free memory in MB that lies in pieces of less than 64 KiB.

    The kernel hands these out first, so that what is loaded then has its pages here and there,
    which costs it cache and TLB (docs/measuring.md has figures).
    """
    text = _read(PROC / "buddyinfo")  # a line for each zone: pieces of 1, 2, 4, ... pages
    if text is None:
        return None
    page_bytes, total_bytes = os.sysconf("SC_PAGE_SIZE"), 0
    for line in text.splitlines():
        _, _, columns = line.partition("zone")
        for order, column in enumerate(columns.split()[1:]):
            pieces, piece_bytes = whole_number(column), page_bytes << order
            if pieces is None:
                return None
            if piece_bytes < SMALL_PIECE_BYTES:
                total_bytes += pieces * piece_bytes
    return total_bytes / 1e6


def allowed_cores() -> tuple[int, ...]:
    """Cores this process may use: `taskset` and cgroups are respected."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def quietest_cores(count: int, *, probe_s: float = 0.2) -> tuple[int, ...]:
    """The `count` least busy allowed cores; among equals the highest, since core 0 serves
    interrupts."""
    cores = allowed_cores()
    if count >= len(cores):
        return cores
    before = {core: _ticks(core) for core in cores}
    time.sleep(probe_s)

    def busy_share(core: int) -> float:
        old, new = before[core], _ticks(core)
        if old is None or new is None or new.total == old.total:
            return 0.0
        return round((new.busy - old.busy) / (new.total - old.total), 1)

    return tuple(sorted(sorted(cores, key=lambda core: (busy_share(core), -core))[:count]))


@dataclass(frozen=True, slots=True)
class CoreTicks:
    """Counters of /proc/stat, in ticks."""

    busy: int
    steal: int
    total: int


@dataclass
class HostMonitor:
    """Reads what drifts on the given cores; steal and waiting are shares since the last read."""

    cores: tuple[int, ...]
    _ticks: CoreTicks | None = None
    _waited_ns: int | None = None
    _read_at: float = field(default_factory=time.monotonic)

    def state(self) -> DeviceState:
        ticks, waited_ns, now = self._sum_ticks(), _run_delay_ns(), time.monotonic()
        elapsed_s = max(now - self._read_at, 1e-9)
        steal = waiting = None
        if ticks and self._ticks and ticks.total > self._ticks.total:
            steal = 100 * (ticks.steal - self._ticks.steal) / (ticks.total - self._ticks.total)
        if waited_ns is not None and self._waited_ns is not None:
            waiting = min(100.0, (waited_ns - self._waited_ns) / elapsed_s / 1e7)
        if ticks is None or self._ticks is None or ticks.total > self._ticks.total:
            self._ticks = ticks
        self._waited_ns, self._read_at = waited_ns, now
        return DeviceState(
            load_1min=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            steal_pct=steal,
            waiting_pct=waiting,
            cpu_pressure_pct=cpu_pressure_pct(),
            clock_mhz=clock_mhz(self.cores[0]),
        )

    def _sum_ticks(self) -> CoreTicks | None:
        read = [_ticks(core) for core in self.cores]
        known = [ticks for ticks in read if ticks is not None]
        if len(known) < len(read):
            return None
        return CoreTicks(
            sum(t.busy for t in known), sum(t.steal for t in known), sum(t.total for t in known)
        )


def _ticks(core: int) -> CoreTicks | None:
    match = re.search(rf"^cpu{core} (.+)$", _read(PROC / "stat") or "", re.MULTILINE)
    if match is None:
        return None
    # user nice system idle iowait irq softirq steal guest guest_nice; guests are within user
    read = [whole_number(value) for value in match[1].split()[:8]]
    counts = [count for count in read if count is not None]
    if len(counts) < 8:
        return None
    return CoreTicks(sum(counts) - counts[3] - counts[4], counts[7], sum(counts))


def _run_delay_ns() -> int | None:
    """Time that this thread was ready to run but had no core."""
    columns = (_read(PROC / "thread-self/schedstat") or "").split()
    return whole_number(columns[1]) if len(columns) > 1 else None


def _khz_as_mhz(path: Path) -> float | None:
    khz = whole_number((_read(path) or "").strip())
    return khz / 1000 if khz else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
