"""Other programs that time the same files while they are measured.

After each block of a sweep the one of the same file takes as many samples: the same number in the
same minutes, however busy the machine is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.plain_timer import Timer
from profiler.devices.base import DeviceState, ModelWorkload, PreparedWorkload, Workload
from profiler.devices.host.cpu import CpuDevice


class Beside(CpuDevice):
    """After each block, of which the sweep then asks the state, the other program has its turn.

    Args:
        files: each of another program.
        which: of these a workload is; None: there is no other program for it.
        runs: samples that one takes after a block.

    Attributes:
        samples_ms: that were taken, by file.
    """

    def __init__(
        self,
        files: Sequence[Path],
        which: Callable[[Workload | ModelWorkload], int | None],
        runs: int,
        *,
        wall: bool,
    ) -> None:
        super().__init__(wall_clock=wall)
        self._which, self._runs = which, runs
        self._timers = [Timer(file, wall=wall) for file in files]
        self.last: int | None = None
        self.samples_ms: dict[int, list[float]] = defaultdict(list)

    def prepare(self, workload: Workload) -> Noted:  # type: ignore[override]
        return Noted(self, self._which(workload), super().prepare(workload))

    def prepare_model(self, workload: ModelWorkload) -> Noted:  # type: ignore[override]
        return Noted(self, self._which(workload), super().prepare_model(workload))

    def state(self) -> DeviceState:
        if self.last is not None:
            self.samples_ms[self.last] += self._timers[self.last].ask(self._runs)
        return super().state()

    def close(self) -> None:
        for timer in self._timers:
            timer.close()
        super().close()


class Noted:
    """A prepared workload that tells its device when it was at work."""

    def __init__(self, device: Beside, at: int | None, prepared: PreparedWorkload) -> None:
        self._device, self._at, self._prepared = device, at, prepared

    def sample_ms(self, runs: int) -> float:
        self._device.last = self._at
        return self._prepared.sample_ms(runs)

    def close(self) -> None:
        self._prepared.close()
