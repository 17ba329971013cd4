"""NVIDIA GPUs: torch models timed by CUDA events, watched through NVML.

Two launch modes, since they are two different latencies:

- ``graph``: k runs as one CUDA graph. The host launches once, so that this is the GPU's own time.
- ``eager``: k runs as torch launches them, kernel by kernel. At batch 1 this is mostly the host.

And two states of the L2 cache, for graphs: ``hot`` (the runs follow each other) and ``cold``
(before each timed run more than the L2 is written).
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from profiler.devices.backend import DeviceStatus, Finding
from profiler.devices.base import DeviceBase, DeviceInfo, DeviceState, Workload
from profiler.devices.cuda.nvml import (
    SW_POWER_CAP,
    GpuSensors,
    GpuState,
    NvmlSensors,
    require_driver,
    throttle_reasons,
)
from profiler.devices.cuda.options import CudaMode
from profiler.devices.cuda.queue import (
    PRECISIONS,
    Gpu,
    GpuQueue,
    Launch,
    TorchQueue,
    describe_gpu,
    usable_torch,
)
from profiler.devices.host import monitor
from profiler.errors import DeviceUnavailableError, InvalidInputError
from profiler.flags import Flag
from profiler.measuring.protocol import GPU_LIMITS
from profiler.system.lock import device_lock
from profiler.system.memory import available_memory_mb

MIN_GRAPH_SAMPLE_MS = 0.1  # events resolve 0.5 µs
MIN_EAGER_SAMPLE_MS = 2.0  # the host's jitter is that of a CPU
MIN_ENERGY_WINDOW_S = 2.0  # counters advance every 20 to 100 ms
ENERGY_SAMPLE_MS = 200.0
ENERGY_GRAPH_MS = 5.0  # replayed: a graph of a whole sample would have tens of thousands of nodes
GRAPH = CudaMode()
SHORTEST_RUN_MS = 1e-3  # no kernel is shorter, but two events can be


class CudaDevice(DeviceBase):
    """GPU `index`, in CUDA's order (CUDA_VISIBLE_DEVICES counts), until `close`.

    `queue` and `sensors` replace torch and NVML where there are none.

    Raises:
        InvalidInputError: a setting that a GPU does not have.
        DeviceUnavailableError: no driver, no GPU, no torch for it, or another process
            measures on it.
    """

    uses_canary = True

    def __init__(
        self, index: int = 0, *, threads: int = 1, batch_size: int = 1,
        precision: str = "float32", mode: CudaMode = GRAPH,
        queue: GpuQueue | None = None, sensors: GpuSensors | None = None,
    ) -> None:  # fmt: skip
        self.mode = mode
        if threads != 1:
            raise InvalidInputError(f"device cuda has no threads to set, but {threads} were asked")
        if precision not in PRECISIONS:
            raise InvalidInputError(
                f"device cuda measures {', '.join(PRECISIONS)}, not {precision}"
            )
        with ExitStack() as undo:
            if queue is None:
                require_driver()  # in words of its own
                queue = TorchQueue(index, precision=precision, channels_last=mode.channels_last)
            undo.callback(queue.close)
            undo.enter_context(device_lock(f"gpu {queue.gpu.uuid}"))
            sensors = sensors or NvmlSensors(queue.gpu.uuid)
            undo.callback(sensors.close)
            if mode.lock_clocks_mhz is not None:
                sensors.lock_clocks(mode.lock_clocks_mhz)
                undo.callback(sensors.unlock_clocks)
            self._monitor = monitor.HostMonitor(monitor.allowed_cores())
            self._reading = sensors.read()
            self._undo = undo.pop_all()
        self.queue, self._sensors = queue, sensors
        self._reasons = 0  # that were seen since the last state
        self.info = DeviceInfo(
            spec=f"cuda:{index}",
            platform="cuda",
            model=queue.gpu.name,
            runtime="torch",
            runtime_version=f"{queue.gpu.runtime_version} driver {sensors.driver_version}",
            threads=threads,
            precision=precision,
            batch_size=batch_size,
            max_clock_mhz=sensors.max_clock_mhz,
            os_release=platform.release() or None,
            boot_id=monitor.boot_id(),
            options=_options(mode, precision, queue.gpu),
        )

    @property
    def min_sample_ms(self) -> float:
        return MIN_EAGER_SAMPLE_MS if self.mode.launch == "eager" else MIN_GRAPH_SAMPLE_MS

    def prepare(self, workload: Workload) -> CudaWorkload:
        return CudaWorkload(self, self.queue.load(workload))

    def watch(self) -> None:
        """Note why the clocks are what they are, while the GPU works: idle, it gives no reason."""
        self._reasons |= self._sensors.event_reasons() or 0

    def state(self) -> DeviceState:
        """Since the last state; what the host did counts in eager mode only."""
        before, now = self._reading, self._sensors.read()
        reasons = self._reasons | (now.event_reasons or 0)
        self._reading, self._reasons = now, 0
        drift = self._monitor.state() if self.mode.launch == "eager" else DeviceState()
        return replace(
            drift,
            clock_mhz=now.sm_clock_mhz,
            temperature_c=now.temperature_c,
            throttle_reasons=throttle_reasons(reasons),
            warnings=tuple(_warnings(reasons, before, now)),
        )

    def free_memory_mb(self) -> float:
        """Of the GPU, and of the computer, where models are made."""
        return min(self.queue.free_mb(), available_memory_mb())

    def blockers(self) -> Sequence[str]:
        now = self._sensors.read()
        found = [f"the GPU is slowed down: {name}" for name in _throttled(now)]
        others = _n_others(now)
        if others:
            found.append(f"other processes compute on the GPU: {others}")
        return found

    def energy_mj(self) -> int | None:
        """The driver's counter in mJ; None where the card has none."""
        return self._sensors.energy_mj()

    def close(self) -> None:
        """Release the GPU; clocks that were locked are unlocked."""
        self._undo.close()


class CudaWorkload:
    """A model on the GPU, and its graphs by number of runs."""

    def __init__(self, device: CudaDevice, launch: Launch) -> None:
        self._device, self._queue, self._launch = device, device.queue, launch
        self._graphs: dict[int, Launch] = {}
        if device.mode.launch == "eager":
            self._total_ms = self._eager_ms
        else:
            self._total_ms = self._cold_ms if device.mode.l2 == "cold" else self._hot_ms

    def sample_ms(self, runs: int) -> float:
        return self._total_ms(runs) / runs

    def energy_mj(self, window_s: float = 5.0) -> float | None:
        """Energy of one run in mJ, the board's idle power included; the L2 is hot.

        Over at least `window_s` of GPU time, from the driver's counter, never from samples of
        power: those cover a fraction of the time on recent cards (Yang et al. 2023, arXiv
        2312.02741). None where there is no counter.

        Raises:
            InvalidInputError: a window that the counter's steps would show in.
        """
        if window_s < MIN_ENERGY_WINDOW_S:
            raise InvalidInputError(
                f"an energy window of {window_s:g} s is too short; {MIN_ENERGY_WINDOW_S:g} s at "
                "least"
            )
        if self._device.energy_mj() is None:
            return None
        part, runs = self._energy_part(max(self.sample_ms(1), SHORTEST_RUN_MS))
        before, elapsed_ms, n_runs = self._device.energy_mj(), 0.0, 0
        while elapsed_ms < 1e3 * window_s:
            elapsed_ms += self._timed([part])
            n_runs += runs
        after = self._device.energy_mj()
        return None if before is None or after is None else (after - before) / n_runs

    def close(self) -> None:
        self._graphs.clear()
        self._launch = _closed
        self._queue.release()

    def _energy_part(self, run_ms: float) -> tuple[Launch, int]:
        """About ENERGY_SAMPLE_MS of work, and its number of runs."""
        if self._device.mode.launch == "eager":
            runs = max(1, round(ENERGY_SAMPLE_MS / run_ms))
            return _repeated(self._launch, runs), runs
        runs = max(1, round(ENERGY_GRAPH_MS / run_ms))
        replays = max(1, round(ENERGY_SAMPLE_MS / (runs * run_ms)))
        return _repeated(self._graph(runs), replays), runs * replays

    def _graph(self, runs: int) -> Launch:
        if runs not in self._graphs:
            self._graphs[runs] = self._queue.capture(self._launch, runs)
        return self._graphs[runs]

    def _hot_ms(self, runs: int) -> float:
        """A replay that follows another: it is queued while the GPU works, and starts at once."""
        replay = self._graph(runs)
        replay()
        return self._timed([replay])

    def _cold_ms(self, runs: int) -> float:
        """Each run timed alone, after a flush that outlasts the queueing of the run."""
        return self._timed([self._graph(1)] * runs, before=self._queue.flush_l2)

    def _eager_ms(self, runs: int) -> float:
        return self._timed([_repeated(self._launch, runs)])

    def _timed(self, parts: Sequence[Launch], before: Callable[[], None] | None = None) -> float:
        """Sum of the times between the events around each part."""
        spans = []
        for part in parts:
            if before is not None:
                before()
            start, end = self._queue.event(), self._queue.event()
            start.record()
            part()
            end.record()
            spans.append((start, end))
        self._device.watch()
        self._queue.synchronize()
        return sum(start.elapsed_ms(end) for start, end in spans)


def discover() -> list[DeviceStatus]:
    """Every GPU that CUDA shows, for `pnag devices`.

    Raises:
        DeviceUnavailableError: no driver, or no torch for it.
    """
    require_driver()  # without one torch, which takes seconds to import, has nothing to add
    torch = usable_torch()
    return [_status(index) for index in range(torch.cuda.device_count())]


def _status(index: int) -> DeviceStatus:
    try:
        return _answering(index)
    except DeviceUnavailableError as error:  # the others can be measured all the same
        return DeviceStatus(f"cuda:{index}", "", "", False, str(error))


def _answering(index: int) -> DeviceStatus:
    gpu = describe_gpu(index)
    sensors = NvmlSensors(gpu.uuid)
    try:
        now, driver = sensors.read(), sensors.driver_version
    finally:
        sensors.close()
    try:
        with device_lock(f"gpu {gpu.uuid}"):
            reason = ""
    except DeviceUnavailableError as error:
        reason = str(error)
    runtime = f"torch {gpu.runtime_version}, driver {driver}"
    return DeviceStatus(
        f"cuda:{index}", gpu.name, runtime, not reason, reason, tuple(gpu_findings(index, now))
    )


def gpu_findings(index: int, now: GpuState) -> list[Finding]:
    """What would make numbers of a GPU unsteady; `now` was read before we use it."""
    findings = [
        Finding(f"cuda:{index} is slowed down: {name}", "let it cool; check its power supply")
        for name in _throttled(now)
    ]
    if now.n_processes:
        findings.append(
            Finding(
                f"processes compute on cuda:{index}: {now.n_processes}",
                "nvidia-smi lists them; stop them, or choose another GPU",
            )
        )
    return findings


def _throttled(now: GpuState) -> tuple[str, ...]:
    return throttle_reasons(now.event_reasons or 0)


def _n_others(now: GpuState) -> int:
    """Counted, not told apart by id: in a container the driver's process ids are not ours."""
    return max(0, (now.n_processes or 0) - 1)


def _warnings(reasons: int, before: GpuState, now: GpuState) -> list[Flag]:
    found = [Flag.POWER_CAPPED] if reasons & SW_POWER_CAP else []
    if _n_others(now):
        found.append(Flag.OTHER_PROCESSES)
    if _moved(before.sm_clock_mhz, now.sm_clock_mhz):
        found.append(Flag.SM_CLOCK_MOVED)
    if _moved(before.memory_clock_mhz, now.memory_clock_mhz):
        found.append(Flag.MEMORY_CLOCK_MOVED)
    return found


def _moved(before: float | None, now: float | None) -> bool:
    if before is None or now is None:
        return False
    return abs(now / before - 1) > GPU_LIMITS.clock_tolerance


def _options(mode: CudaMode, precision: str, gpu: Gpu) -> tuple[tuple[str, str], ...]:
    options = {
        "batch_norm": "folded",
        "cudnn_benchmark": "off",
        "l2": mode.l2,
        "launch": mode.launch,
        "memory_format": "channels_last" if mode.channels_last else "contiguous",
        "tf32": "on" if precision == "tf32" else "off",
        "uuid": gpu.uuid,
    }
    if mode.lock_clocks_mhz is not None:
        options["locked_clock_mhz"] = str(mode.lock_clocks_mhz)
    return tuple(sorted(options.items()))


def _repeated(launch: Launch, times: int) -> Launch:
    def launches() -> None:
        for _ in range(times):
            launch()

    return launches


def _closed() -> None:
    raise InvalidInputError("the workload is closed")
