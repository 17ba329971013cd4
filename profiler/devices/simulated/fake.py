"""A synthetic device with a latency in closed form, for tests and for trying the tool out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from profiler.devices.base import DeviceInfo, DeviceState, Workload
from profiler.errors import InvalidInputError, MeasurementError
from profiler.graph.op import Op
from profiler.printable import shown
from profiler.system.context_manager import Closing

MADDS_PER_MS = 2.0e7
BYTES_PER_MS = 1.0e7
OVERHEAD_MS = 0.01
NETWORK_SHARE = 0.9  # of the sum of its blocks: a whole network needs fewer layout changes


@dataclass(frozen=True, slots=True)
class Scenario:
    """What disturbs the fake device. Times are of its own clock, which work advances.

    Attributes:
        noise: standard deviation of a sample, relative.
        slowdown: factor on everything from the start, as a busy neighbour causes.
        drift_per_s: relative slowdown per second.
        preempted_share: share of samples that take `preempted_factor` times as long.
        throttle_at_s: from then on everything takes `throttle_factor` times as long.
        throttle_for_s: how long it goes on.
        throttle_visible: whether the state names the throttling.
        step_keys: keys that take 1.2 times as long from `step_at_s` on.
        failing_keys: keys that cannot be prepared.
    """

    noise: float = 0.005
    slowdown: float = 1.0
    drift_per_s: float = 0.0
    preempted_share: float = 0.0
    preempted_factor: float = 3.0
    throttle_at_s: float = float("inf")
    throttle_for_s: float = float("inf")
    throttle_factor: float = 1.5
    throttle_visible: bool = True
    step_keys: tuple[str, ...] = ()
    step_at_s: float = 0.0
    failing_keys: tuple[str, ...] = ()


QUIET = Scenario()


@cache
def _op_ms(op: Op) -> float:
    graph = op.graph
    return graph.madds / MADDS_PER_MS + graph.bytes_moved / BYTES_PER_MS + OVERHEAD_MS


class FakeDevice(Closing):
    """Deterministic for a seed; its clock `now` advances only by the work it does.

    Raises:
        InvalidInputError: a precision other than float32.
    """

    min_sample_ms = 2.0
    uses_canary = True

    def __init__(
        self,
        seed: int = 0,
        *,
        threads: int = 1,
        batch_size: int = 1,
        precision: str = "float32",
        scenario: Scenario = QUIET,
        boot_id: str = "fake-boot",
        runtime_version: str = "1",
    ) -> None:
        if precision != "float32":
            raise InvalidInputError(f"device fake measures float32, not {shown(precision)}")
        self.scenario = scenario
        self._rng = np.random.default_rng(seed)
        self._now_s = 0.0
        self.info = DeviceInfo(
            spec=f"fake:{seed}",
            platform="fake",
            model=f"fake {seed}",
            runtime="fake",
            runtime_version=runtime_version,
            threads=threads,
            precision=precision,
            batch_size=batch_size,
            boot_id=boot_id,
        )

    def latency_ms(self, workload: Workload) -> float:
        """The true latency: Σ (madds / rate + bytes / bandwidth + overhead) / threads."""
        total = sum(map(_op_ms, workload.ops))
        share = NETWORK_SHARE if len(workload.ops) > 1 else 1.0
        return share * total / self.info.threads

    def now(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self._now_s += seconds

    def free_memory_mb(self) -> float | None:
        return None

    def prepare(self, workload: Workload) -> FakeWorkload:
        if workload.key in self.scenario.failing_keys:
            raise MeasurementError("told to fail", reason="load_failed")
        return FakeWorkload(self, workload)

    def state(self) -> DeviceState:
        throttled = self.throttled and self.scenario.throttle_visible
        return DeviceState(throttle_reasons=("thermal",) if throttled else ())

    def blockers(self) -> Sequence[str]:
        return ()

    @property
    def throttled(self) -> bool:
        return 0 <= self._now_s - self.scenario.throttle_at_s < self.scenario.throttle_for_s

    def draw_ms(self, workload: Workload, runs: int) -> float:
        """One sample; advances the clock by the time it takes."""
        scene = self.scenario
        latency = self.latency_ms(workload) * scene.slowdown
        latency *= 1 + scene.drift_per_s * self._now_s
        if self.throttled:
            latency *= scene.throttle_factor
        if workload.key in scene.step_keys and self._now_s >= scene.step_at_s:
            latency *= 1.2
        if self._rng.random() < scene.preempted_share:
            latency *= scene.preempted_factor
        latency *= float(np.exp(self._rng.normal(0, scene.noise)))
        self._now_s += latency * runs / 1e3
        return latency

    def close(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class FakeWorkload:
    device: FakeDevice
    workload: Workload

    def sample_ms(self, runs: int) -> float:
        return self.device.draw_ms(self.workload, runs)

    def close(self) -> None:
        return None
