"""A GPU's queue in closed form: a host that launches, a GPU that works later, an L2 cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from profiler.devices.base import Workload
from profiler.devices.cuda.device import CudaDevice
from profiler.devices.cuda.nvml import GpuState
from profiler.devices.cuda.options import CudaMode
from profiler.devices.cuda.queue import Gpu
from profiler.errors import DeviceUnavailableError, MeasurementError

LAUNCH_MS = 0.05  # of an op's kernels, by the host
GRAPH_LAUNCH_MS = 0.01
RECORD_MS = 0.001
FLUSH_MS = 0.4
MADDS_PER_MS = 5e9
KERNEL_MS = 0.004
COLD_BYTES_PER_MS = 5e8  # the additional time of bytes that are not in the L2
RESOLUTION_MS = 0.0005
POWER_W = 200.0

GPU = Gpu("Simulated GPU", "GPU-simulated", "0.0 CUDA 0.0 cuDNN 0")


def work_ms(workload: Workload, *, cold: bool = False) -> float:
    """What the GPU needs for one run."""
    hot = sum(KERNEL_MS + op.graph.madds / MADDS_PER_MS for op in workload.ops)
    return hot + cold * sum(op.graph.bytes_moved for op in workload.ops) / COLD_BYTES_PER_MS


def launch_ms(workload: Workload) -> float:
    """What the host needs to launch one run eagerly."""
    return LAUNCH_MS * len(workload.ops)


@dataclass
class SimulatedQueue:
    """Satisfies GpuQueue. Times in ms: `host_ms` now, and when the GPU will be idle."""

    gpu: Gpu = GPU
    slowdown: float = 1.0
    too_large: frozenset[str] = frozenset()  # keys that do not fit into memory
    host_ms: float = 0.0
    idle_at_ms: float = 0.0
    busy_ms: float = 0.0
    free: float = 8000.0  # MB
    cached: str | None = None  # whose data the L2 holds
    closed: bool = False
    captured_runs: list[int] = field(default_factory=list)  # of each graph
    _captured: list[Workload] | None = None

    def load(self, workload: Workload) -> Callable[[], None]:
        if workload.key in self.too_large:
            raise MeasurementError(f"{workload.key} does not fit", reason="out_of_memory")

        def launch() -> None:
            if self._captured is not None:
                self._captured.append(workload)
            else:  # the first kernel can start when it is launched, the last when all are
                self.host_ms += launch_ms(workload)
                started = self.host_ms - launch_ms(workload) * (1 - 1 / len(workload.ops))
                done = max(self.idle_at_ms, started) + self._run(workload)
                self.idle_at_ms = max(done, self.host_ms + KERNEL_MS)

        return launch

    def capture(self, launch: Callable[[], None], runs: int) -> Callable[[], None]:
        self.captured_runs.append(runs)
        self._captured = []
        for _ in range(runs):
            launch()
        captured, self._captured = self._captured, None

        def replay() -> None:
            self.host_ms += GRAPH_LAUNCH_MS
            self.idle_at_ms = max(self.idle_at_ms, self.host_ms)
            for workload in captured:
                self.idle_at_ms += self._run(workload)

        return replay

    def event(self) -> SimulatedEvent:
        return SimulatedEvent(self)

    def flush_l2(self) -> None:
        self.host_ms += GRAPH_LAUNCH_MS
        self.idle_at_ms = max(self.idle_at_ms, self.host_ms) + FLUSH_MS
        self.cached = None

    def synchronize(self) -> None:
        self.host_ms = max(self.host_ms, self.idle_at_ms)

    def free_mb(self) -> float:
        return self.free

    def release(self) -> None:
        return None

    def close(self) -> None:
        self.closed = True

    def _run(self, workload: Workload) -> float:
        took = self.slowdown * work_ms(workload, cold=self.cached != workload.key)
        self.cached = workload.key
        self.busy_ms += took
        return took


@dataclass
class SimulatedEvent:
    queue: SimulatedQueue
    at_ms: float = float("nan")

    def record(self) -> None:
        self.queue.host_ms += RECORD_MS
        self.queue.idle_at_ms = max(self.queue.idle_at_ms, self.queue.host_ms)
        self.at_ms = self.queue.idle_at_ms

    def elapsed_ms(self, end: SimulatedEvent) -> float:
        assert end.at_ms <= self.queue.host_ms, "asked before the GPU was waited for"
        return round((end.at_ms - self.at_ms) / RESOLUTION_MS) * RESOLUTION_MS


@dataclass
class ReplayedSensors:
    """Satisfies GpuSensors: recorded readings, the last one for ever."""

    readings: Iterable[GpuState] = (GpuState(1545.0, 7000.0, 50.0, POWER_W, 0, 1),)
    while_working: int | None = 0  # event reasons during samples
    queue: SimulatedQueue | None = None  # whose work takes POWER_W
    may_lock: bool = True
    driver_version: str = "555.42"
    max_clock_mhz: float | None = 2100.0
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._left = list(self.readings)

    def read(self) -> GpuState:
        return self._left.pop(0) if len(self._left) > 1 else self._left[0]

    def event_reasons(self) -> int | None:
        return self.while_working

    def energy_mj(self) -> int | None:
        return None if self.queue is None else round(POWER_W * self.queue.busy_ms)

    def lock_clocks(self, mhz: int) -> None:
        if not self.may_lock:
            raise DeviceUnavailableError("locking the clocks needs root")
        self.calls.append(f"lock {mhz}")

    def unlock_clocks(self) -> None:
        self.calls.append("unlock")

    def close(self) -> None:
        self.calls.append("close")


QUIET = GpuState(1545.0, 7000.0, 50.0, POWER_W, 0, 1)


def reading(**changes: float | None) -> GpuState:
    """A quiet GPU but for the changes."""
    # fields of several types by name
    return replace(QUIET, **changes)  # type: ignore[arg-type]


def simulated(
    queue: SimulatedQueue | None = None,
    sensors: ReplayedSensors | None = None,
    **settings: Any,
) -> CudaDevice:
    """Settings of a device, and of its mode."""
    names = {field.name for field in fields(CudaMode)}
    mode = CudaMode(**{name: settings.pop(name) for name in names & settings.keys()})
    return CudaDevice(
        mode=mode, queue=queue or SimulatedQueue(), sensors=sensors or ReplayedSensors(), **settings
    )
