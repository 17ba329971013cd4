"""LiteRT with XNNPACK, the runtime of phones, on this machine's own cores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from profiler.devices.backend import DeviceStatus
from profiler.devices.base import Workload
from profiler.devices.host.findings import host_status
from profiler.devices.host.launch import Launch
from profiler.devices.host.model_files import HostModels
from profiler.devices.host.pinned import PinnedHost
from profiler.devices.seeded import seeded_image, seeded_tflite
from profiler.errors import InvalidInputError, MeasurementError
from profiler.graph.litert import Model, Runtime, load_runtime
from profiler.graph.to_tflite import PRECISIONS, Precision


def discover() -> list[DeviceStatus]:
    """This machine under LiteRT, for `pnag devices`.

    Raises:
        DeviceUnavailableError: no usable runtime.
    """
    runtime = load_runtime()
    return [host_status("tflite", f"{runtime.name} {runtime.version}")]


class TFLiteDevice(HostModels, PinnedHost):
    """The LiteRT interpreter: XNNPACK runs the whole graph, explicit threads, pinned cores.

    Raises:
        DeviceUnavailableError: no usable runtime, or fewer cores are allowed than threads
            were asked for.
        InvalidInputError: a precision other than float32 and int8.
    """

    def __init__(
        self,
        *,
        threads: int = 1,
        batch_size: int = 1,
        precision: str = "float32",
        wall_clock: bool = False,
    ) -> None:
        if precision not in PRECISIONS:
            raise InvalidInputError(
                f"device tflite measures {' or '.join(PRECISIONS)}, not {precision}"
            )
        self._precision = precision
        self._runtime = load_runtime()
        super().__init__(threads, wall_clock=wall_clock)
        self.info = self.describe(
            "tflite", self._runtime.name, self._runtime.version,
            precision=precision,
            batch_size=batch_size,
            options={"delegate": "XNNPACK", "delegation": "full"},  # `prepare` refuses any other
        )  # fmt: skip

    def prepare(self, workload: Workload) -> TFLiteWorkload:
        return _loaded(workload, self._precision, self.threads, self.clock_ns)

    def launch(self) -> Launch:
        make = partial(
            _loaded, precision=self._precision, threads=self.threads, clock_ns=self.clock_ns
        )
        return Launch(self, make)


def _loaded(
    workload: Workload, precision: Precision, threads: int, clock_ns: Callable[[], int]
) -> TFLiteWorkload:
    return TFLiteWorkload(workload, precision, threads, load_runtime(), clock_ns)


class TFLiteWorkload:
    """One interpreter with its input set, so that a run is `invoke` and nothing else."""

    def __init__(
        self, workload: Workload, precision: Precision, threads: int, runtime: Runtime,
        clock_ns: Callable[[], int],
    ) -> None:  # fmt: skip
        content = seeded_tflite(workload, precision)
        self._model = Model(content, threads=threads, runtime=runtime)
        if not self._model.fully_delegated:
            raise MeasurementError(
                f"XNNPACK does not run all of {workload.key} in {precision} "
                f"({runtime.name} {runtime.version})",
                reason="not_delegated",
            )
        image = seeded_image(workload).transpose(0, 2, 3, 1)
        self._model.set_input(np.ascontiguousarray(image))
        self._clock = clock_ns

    def sample_ms(self, runs: int) -> float:
        invoke, clock = self._model.invoke, self._clock
        start = clock()
        try:
            for _ in range(runs):
                invoke()
        except RuntimeError as error:
            raise MeasurementError(f"LiteRT failed: {error}", reason="invoke_failed") from error
        return (clock() - start) / runs / 1e6

    def output(self) -> NDArray[np.float32]:
        """The result of the last run, for comparison with another implementation."""
        return self._model.output()

    def close(self) -> None:
        self._model.close()
