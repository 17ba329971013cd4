"""Model files on this machine's own cores, in the runtime of their format."""

from __future__ import annotations

from collections.abc import Callable

from profiler.devices.base import ModelWorkload
from profiler.models.cold_start import ColdStart, cold_start
from profiler.models.file import load
from profiler.models.op_profile import OpShare, op_shares


class HostModels:
    """What a device of the host needs to be a ModelDevice."""

    threads: int  # of the device, at least those of a model
    clock_ns: Callable[[], int]

    def prepare_model(self, workload: ModelWorkload) -> LoadedWorkload:
        # one clock for all counts of threads that are compared
        return LoadedWorkload(workload, self.clock_ns)

    def cold_start(self, workload: ModelWorkload) -> ColdStart:
        return cold_start(workload.model, threads=workload.threads)

    def op_shares(self, workload: ModelWorkload) -> tuple[OpShare, ...]:
        return op_shares(workload.model, threads=workload.threads)


class LoadedWorkload:
    """A model file in its runtime, inputs set."""

    def __init__(self, workload: ModelWorkload, clock_ns: Callable[[], int]) -> None:
        self._model = load(workload.model, threads=workload.threads)
        self._clock = clock_ns

    def sample_ms(self, runs: int) -> float:
        start = self._clock()
        self._model.run(runs)
        return (self._clock() - start) / runs / 1e6

    def close(self) -> None:
        self._model.close()
