"""This machine's CPU through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from profiler.devices.backend import DeviceStatus
from profiler.devices.base import Workload
from profiler.devices.host import monitor
from profiler.devices.host.findings import host_status
from profiler.devices.host.launch import Launch
from profiler.devices.host.model_files import HostModels
from profiler.devices.host.pinned import PinnedHost
from profiler.devices.seeded import seeded_image, seeded_onnx
from profiler.errors import InvalidInputError
from profiler.models.onnx_runtime import OnnxSession, onnx_runtime


def discover() -> list[DeviceStatus]:
    """This machine under ONNX Runtime, for `pnag devices`."""
    try:
        installed = version("onnxruntime")
    except PackageNotFoundError:
        return [DeviceStatus("cpu", monitor.cpu_model(), "", False, "pip install onnxruntime")]
    return [host_status("cpu", f"onnxruntime {installed}")]


class CpuDevice(HostModels, PinnedHost):
    """ONNX Runtime's CPU provider: all graph optimisations, explicit threads, pinned cores.

    Raises:
        DeviceUnavailableError: ONNX Runtime is missing, or fewer cores are allowed than
            threads were asked for.
        InvalidInputError: a precision other than float32.
    """

    def __init__(
        self,
        *,
        threads: int = 1,
        batch_size: int = 1,
        precision: str = "float32",
        wall_clock: bool = False,
    ) -> None:
        if precision != "float32":
            raise InvalidInputError(f"device cpu measures float32, not {precision}")
        runtime = onnx_runtime()
        super().__init__(threads, wall_clock=wall_clock)
        self.info = self.describe(
            "cpu", "onnxruntime", runtime.__version__,
            precision=precision,
            batch_size=batch_size,
            options={"graph_optimization": "all", "provider": "CPUExecutionProvider"},
        )  # fmt: skip

    def prepare(self, workload: Workload) -> CpuWorkload:
        return CpuWorkload(workload, self.threads, self.clock_ns)

    def launch(self) -> Launch:
        make = partial(CpuWorkload, threads=self.threads, clock_ns=self.clock_ns)
        return Launch(self, make)


class CpuWorkload:
    """One session with its input and output bound, so that a run is little but the model."""

    def __init__(self, workload: Workload, threads: int, clock_ns: Callable[[], int]) -> None:
        self._session = OnnxSession(seeded_onnx(workload), threads=threads)
        self._session.bind({"input": seeded_image(workload)})
        self._clock = clock_ns

    def sample_ms(self, runs: int) -> float:
        start = self._clock()
        self._session.run(runs)
        return (self._clock() - start) / runs / 1e6

    def output(self) -> Any:
        """The result of the last run, for comparison with another implementation."""
        return self._session.outputs()["output"]

    def close(self) -> None:
        self._session.close()
