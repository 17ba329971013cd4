"""Model files on a GPU: everything but ONNX Runtime's CUDA provider itself."""

from __future__ import annotations

import pytest

from profiler.devices.base import ModelWorkload
from profiler.devices.cuda import model_files
from profiler.devices.cuda.model_files import CudaModelDevice
from profiler.errors import DeviceUnavailableError, MeasurementError
from profiler.models import onnx_runtime as runtime
from profiler.models.file import load, read_model_file, runnable
from tests.profiler.devices.cuda.simulated_cuda import ReplayedSensors, SimulatedQueue
from tests.profiler.models.onnx_files import convolution


@pytest.fixture
def device(monkeypatch, tmp_path):
    """A simulated GPU, whose models run on the CPU."""
    monkeypatch.setenv("PNAG_TEST_LOCKS", str(tmp_path))
    monkeypatch.setattr(
        runtime.onnx_runtime(), "get_available_providers", lambda: [runtime.CUDA, runtime.CPU]
    )

    def on_cpu(model, *, threads, gpu):
        assert gpu == 0
        return load(model, threads=threads)

    monkeypatch.setattr(model_files, "load", on_cpu)
    with CudaModelDevice(queue=SimulatedQueue(), sensors=ReplayedSensors()) as device:
        yield device


def test_a_file_is_timed_until_its_outputs_are_there(device, tmp_path):
    file = read_model_file(convolution(tmp_path / "net.onnx"))
    workload = ModelWorkload(runnable(file, shapes={}, arrays={}), 1, 0)
    prepared = device.prepare_model(workload)
    assert 0.001 < prepared.sample_ms(20) < 10
    prepared.close()
    assert device.info.runtime == "onnxruntime"
    with pytest.raises(MeasurementError, match="times launches"):
        device.op_shares(workload)


def test_without_its_provider_no_gpu_is_opened(monkeypatch):
    monkeypatch.setattr(runtime.onnx_runtime(), "get_available_providers", lambda: [runtime.CPU])
    with pytest.raises(DeviceUnavailableError, match="has no CUDAExecutionProvider"):
        CudaModelDevice()
