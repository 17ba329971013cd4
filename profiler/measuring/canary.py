"""Reference workloads that sense the state of the machine between measurements.

Two canaries, because two things change on a shared machine: the speed of the core, which a
convolution that stays in the core's own caches senses, and the share of the last-level cache
and of memory bandwidth, which a whole network senses, as its weights stream through them at
every run. A workload is normalised by the canary nearer in size of weights.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import cycle

import numpy as np

from profiler.devices.base import Device, ModelWorkload, PreparedWorkload, Workload
from profiler.graph.graph import GraphBuilder
from profiler.graph.layers import BatchNorm, square_convolution
from profiler.graph.op import Block, Op
from profiler.measuring.sampling import Sampler
from profiler.spaces.mobilenetv3 import MobileNetV3Space


@dataclass(frozen=True, slots=True)
class CanaryRule:
    """How the canaries are loaded and sampled, and what says how fast the machine is."""

    copies: int
    warm_runs: int
    sample_ms: float
    window: int  # latest samples that make a level
    level_quantile: float  # low: a busy core adds scatter above it, a slower machine moves it
    min_samples: int  # fewer in a span of time say nothing about it


class Canary(StrEnum):
    RESIDENT = "resident"  # compute-bound: 64 kB of weights
    STREAMING = "streaming"  # memory-bound: a network of 20 MB of weights


def canary_workload(canary: Canary) -> Workload:
    """The fixed workload of a canary, the same for every space and device."""
    name = f"canary:{canary}"
    if canary is Canary.RESIDENT:
        return Workload(name, (_convolution(128, 28),))
    space = MobileNetV3Space()
    return Workload(name, tuple(space.ops(space.uniform(depth=3, kernel=5, expand=4))))


def _convolution(channels: int, size_px: int) -> Op:
    builder = GraphBuilder()
    x = builder.input("input", (1, channels, size_px, size_px))
    y = builder.add("conv", square_convolution(channels), x)
    key = f"Conv_1-input:{size_px}x{size_px}x{channels}-output:{size_px}x{size_px}x{channels}"
    return Block("Conv_1", key, builder.graph(builder.add("bn", BatchNorm(), y)))


def nearest_canary(workload: Workload | ModelWorkload) -> Canary:
    """The canary that normalises a workload: the nearer in bytes of weights.

    >>> nearest_canary(canary_workload(Canary.STREAMING))
    <Canary.STREAMING: 'streaming'>
    """
    size = workload.weight_bytes
    return min(Canary, key=lambda canary: abs(canary_workload(canary).weight_bytes - size))


@dataclass
class PreparedCanary:
    """A canary on a device, with its recent samples; `reference_ms` is their level at the
    end of the warm-up.

    Several copies take turns, since where its weights happen to lie in memory moves the
    latency of one loaded model by a percent or two for as long as it is loaded.
    """

    copies: Sequence[PreparedWorkload]
    runs: int
    rule: CanaryRule
    sampler: Sampler
    reference_ms: float = 0.0
    off_since_s: float | None = None  # when it was first found far above its reference
    recent_ms: deque[float] = field(init=False)

    def __post_init__(self) -> None:
        self.recent_ms = deque(maxlen=self.rule.window)
        self._turns = cycle(self.copies)

    def sample_ms(self) -> float:
        prepared = next(self._turns)
        if self.runs > 1:  # short: brings its weights back into the caches first
            self.sampler.sample_ms(prepared, 1)
        value = self.sampler.sample_ms(prepared, self.runs)
        self.recent_ms.append(value)
        return value

    @property
    def excess(self) -> float:
        """How much slower than its reference it ran lately, relative."""
        if not self.reference_ms or len(self.recent_ms) < self.rule.window:
            return 0.0
        return self.level_ms(self.recent_ms) / self.reference_ms - 1

    def level_ms(self, samples_ms: Iterable[float]) -> float:
        return float(np.quantile(list(samples_ms), self.rule.level_quantile))

    def close(self) -> None:
        for prepared in self.copies:
            prepared.close()


def prepare_canary(
    device: Device, canary: Canary, rule: CanaryRule, sampler: Sampler
) -> PreparedCanary:
    """Load a canary and choose how many of its runs make a sample."""
    workload = canary_workload(canary)
    prepared = [sampler.load(lambda: device.prepare(workload)) for _ in range(rule.copies)]
    once_ms = min(sampler.sample_ms(one, 1) for one in prepared for _ in range(rule.warm_runs))
    return PreparedCanary(prepared, max(1, round(rule.sample_ms / once_ms)), rule, sampler)
