"""A simulated device that takes model files, so that what measures them can be disturbed, too."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import cast
from unittest import mock

from profiler.devices.backend import Backend, NoOptions, Settings
from profiler.devices.base import ModelWorkload, Workload
from profiler.devices.registry import backends
from profiler.devices.simulated.fake import BYTES_PER_MS, FakeDevice, FakeWorkload
from profiler.measuring import kernels
from profiler.models.cold_start import ColdStart
from profiler.models.file import RunnableModel
from profiler.models.kernel import Kernel
from profiler.models.kernels import kernels_of
from profiler.models.op_profile import OpShare

NAME = "files"
MODEL_MS = 1.0  # of a file without bytes
START = ColdStart(load_ms=20.0, first_run_ms=8.0, peak_memory_mb=30.0)
SHARES = (OpShare("conv", "Conv", 0.75), OpShare("relu", "Relu", 0.25))


class FileDevice(FakeDevice):
    """The fake device; a file takes the longer, the longer it is."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(**asdict(settings))
        self.info = replace(self.info, spec=NAME, platform=NAME)

    def latency_ms(self, workload: Workload | ModelWorkload) -> float:
        if isinstance(workload, ModelWorkload):
            return MODEL_MS + workload.model.file.n_bytes / BYTES_PER_MS
        return super().latency_ms(workload)

    def prepare_model(self, workload: ModelWorkload) -> FakeWorkload:
        return FakeWorkload(self, cast(Workload, workload))  # of either, its latency is asked here

    def cold_start(self, workload: ModelWorkload) -> ColdStart:
        return START

    def op_shares(self, workload: ModelWorkload) -> tuple[OpShare, ...]:
        return SHARES


def open_files(_spec: str, settings: Settings, _options: NoOptions) -> FileDevice:
    return FileDevice(settings)


def equal_shares(model: RunnableModel, *, threads: int) -> tuple[tuple[Kernel, float], ...]:
    """The runtime's kernels, none of which is timed: the same in each run."""
    found = kernels_of(model)
    return tuple((kernel, 1 / len(found)) for kernel in found)


FILES = Backend(name=NAME, forms=(NAME,), open=open_files, model_formats=(".onnx",))


def register() -> None:
    """Until this process ends, `--device files` is the device."""
    mock.patch.dict(cast(dict[str, Backend], backends()), {NAME: FILES}).start()
    mock.patch.object(kernels, "kernel_shares", equal_shares).start()
