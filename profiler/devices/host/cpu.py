"""This machine's CPU through ONNX Runtime: the only module that imports onnxruntime."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from profiler.devices.base import Workload
from profiler.devices.discovery import DeviceStatus, host_status
from profiler.devices.host import monitor
from profiler.devices.host.pinned import PinnedHost
from profiler.devices.seeded import seeded_image, seeded_onnx
from profiler.errors import DeviceUnavailableError, InvalidInputError, MeasurementError


def discover() -> list[DeviceStatus]:
    """This machine under ONNX Runtime, for `pnag devices`."""
    try:
        installed = version("onnxruntime")
    except PackageNotFoundError:
        return [DeviceStatus("cpu", monitor.cpu_model(), "", False, "pip install onnxruntime")]
    return [host_status("cpu", f"onnxruntime {installed}")]


class CpuDevice(PinnedHost):
    """ONNX Runtime's CPU provider: all graph optimisations, explicit threads, pinned cores.

    Raises:
        DeviceUnavailableError: ONNX Runtime is missing, or fewer cores are allowed than
            threads were asked for.
        InvalidInputError: a precision other than float32.
    """

    def __init__(
        self, *, threads: int = 1, batch_size: int = 1, precision: str = "float32"
    ) -> None:
        if precision != "float32":
            raise InvalidInputError(f"device cpu measures float32, not {precision}")
        try:
            import onnxruntime  # type: ignore[import-untyped]
        except ImportError:
            raise DeviceUnavailableError(
                "onnxruntime is not installed: pip install onnxruntime"
            ) from None
        super().__init__(threads)
        self.info = self.describe(
            "cpu", "onnxruntime", onnxruntime.__version__,
            precision=precision,
            batch_size=batch_size,
            options={"graph_optimization": "all", "provider": "CPUExecutionProvider"},
        )  # fmt: skip

    def prepare(self, workload: Workload) -> CpuWorkload:
        return CpuWorkload(workload, self.threads)


class CpuWorkload:
    """One session with its input and output bound, so that a run is little but the model."""

    def __init__(self, workload: Workload, threads: int) -> None:
        import onnxruntime as ort

        model = seeded_onnx(workload)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        try:
            session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            output = session.get_outputs()[0]
            # kept: the binding borrows both buffers
            self._image = seeded_image(workload)
            self._result = ort.OrtValue.ortvalue_from_shape_and_type(
                output.shape, np.float32, "cpu", 0
            )
            binding = session.io_binding()
            binding.bind_cpu_input("input", self._image)
            binding.bind_ortvalue_output(output.name, self._result)
        except Exception as error:  # onnxruntime raises unrelated classes of its own
            raise MeasurementError(
                f"onnxruntime cannot load {workload.key}: {error}", reason="load_failed"
            ) from error
        self._session, self._binding = session, binding
        self._clock = monitor.sample_clock(threads)

    def sample_ms(self, runs: int) -> float:
        run, binding, clock = self._session.run_with_iobinding, self._binding, self._clock
        start = clock()
        try:
            for _ in range(runs):
                run(binding)
        except Exception as error:  # onnxruntime raises unrelated classes of its own
            raise MeasurementError(f"onnxruntime failed: {error}", reason="run_failed") from error
        return (clock() - start) / runs / 1e6

    def output(self) -> Any:
        """The result of the last run, for comparison with another implementation."""
        return self._result.numpy()

    def close(self) -> None:
        for name in ("_binding", "_session"):
            self.__dict__.pop(name, None)
