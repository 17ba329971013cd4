"""Model files on a GPU, by ONNX Runtime's CUDA provider."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from profiler.devices.base import ModelWorkload
from profiler.devices.cuda.device import CudaDevice
from profiler.errors import MeasurementError
from profiler.models.cold_start import ColdStart, cold_start
from profiler.models.file import load
from profiler.models.onnx_runtime import onnx_runtime, require_gpu_provider
from profiler.models.op_profile import OpShare


class CudaModelDevice(CudaDevice):
    """A GPU whose canaries are torch's; a run of a model file ends when its outputs are there.

    Raises:
        DeviceUnavailableError: ONNX Runtime without its CUDA provider, or as `CudaDevice`.
    """

    def __init__(self, index: int = 0, **settings: Any) -> None:
        require_gpu_provider()
        super().__init__(index, **settings)
        self._index = index
        both = f"{onnx_runtime().__version__}, torch {self.info.runtime_version}"
        self.info = replace(self.info, runtime="onnxruntime", runtime_version=both)

    def prepare_model(self, workload: ModelWorkload) -> CudaModel:
        return CudaModel(self, workload, self._index)

    def cold_start(self, workload: ModelWorkload) -> ColdStart:
        """Memory is the computer's; what the GPU holds is not told."""
        start = cold_start(workload.model, threads=workload.threads, gpu=self._index)
        return replace(start, peak_memory_mb=None)

    def op_shares(self, workload: ModelWorkload) -> tuple[OpShare, ...]:
        raise MeasurementError(
            "ONNX Runtime's profiler times launches, not what runs on a GPU",
            reason="missing_profile",
        )


class CudaModel:
    """A session whose inputs and outputs stay on the GPU."""

    def __init__(self, device: CudaModelDevice, workload: ModelWorkload, index: int) -> None:
        self._device = device
        self._model = load(workload.model, threads=workload.threads, gpu=index)

    def sample_ms(self, runs: int) -> float:
        start = time.perf_counter_ns()
        self._model.run(runs)  # each run waits for the GPU
        elapsed_ns = time.perf_counter_ns() - start
        self._device.watch()
        return elapsed_ns / runs / 1e6

    def close(self) -> None:
        self._model.close()
