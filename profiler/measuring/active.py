"""A configuration while a sweep measures it: what is loaded, its samples and its time."""

from __future__ import annotations

from dataclasses import dataclass, field

from profiler.devices.base import PreparedWorkload
from profiler.measuring.canary import Canary
from profiler.measuring.records import Block
from profiler.measuring.task import Task


@dataclass
class Active:
    """A task being measured."""

    task: Task
    prepared: PreparedWorkload
    runs: int
    single_ms: float  # the fastest single run
    canary: Canary
    samples_ms: dict[int, list[tuple[float, ...]]] = field(default_factory=dict)  # by sweep
    spans_s: dict[int, tuple[float, float]] = field(default_factory=dict)  # by sweep
    spent_s: float = 0.0
    n_blocks: int = 0
    failed: bool = False

    def count(self, block: Block) -> None:
        self.spent_s += block.spent_s
        if not block.throttled:
            self.samples_ms.setdefault(block.sweep, []).append(block.samples_ms)
            begun_s, _ = self.spans_s.get(block.sweep, (block.started_s, 0.0))
            self.spans_s[block.sweep] = begun_s, block.started_s + block.spent_s
            self.n_blocks += 1

    @property
    def n_samples(self) -> int:
        return sum(len(block) for blocks in self.samples_ms.values() for block in blocks)

    @property
    def span_s(self) -> float:
        """Over which its samples are spread."""
        return sum(end_s - begun_s for begun_s, end_s in self.spans_s.values())
