"""Model files on this machine's own cores, in the runtime of their format."""

from __future__ import annotations

from profiler.devices.base import ModelWorkload
from profiler.devices.host import monitor
from profiler.models.cold_start import ColdStart, cold_start
from profiler.models.file import load
from profiler.models.op_profile import OpShare, op_shares


class HostModels:
    """What a device of the host needs to be a ModelDevice, but for its `model_formats`."""

    def prepare_model(self, workload: ModelWorkload) -> LoadedWorkload:
        return LoadedWorkload(workload)

    def cold_start(self, workload: ModelWorkload) -> ColdStart:
        return cold_start(workload.model, threads=workload.threads)

    def op_shares(self, workload: ModelWorkload) -> tuple[OpShare, ...]:
        return op_shares(workload.model, threads=workload.threads)


class LoadedWorkload:
    """A model file in its runtime, inputs set."""

    def __init__(self, workload: ModelWorkload) -> None:
        self._model = load(workload.model, threads=workload.threads)
        self._clock = monitor.sample_clock(workload.threads)

    def sample_ms(self, runs: int) -> float:
        start = self._clock()
        self._model.run(runs)
        return (self._clock() - start) / runs / 1e6

    def close(self) -> None:
        self._model.close()
