"""A model file on the phone, and what came of one run of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from profiler.devices.android.benchmark_lines import BenchmarkTimings
from profiler.devices.android.benchmark_profile import NodeTiming
from profiler.devices.android.job import JobResult
from profiler.devices.android.options import RECORDED_AS, Delegate
from profiler.errors import MeasurementError
from profiler.models.file import RunnableModel


class Phone(Protocol):
    """What a model on a phone asks of its device."""

    def benchmark(self, model: AndroidWorkload, runs: int) -> BenchmarkTimings: ...

    def profile(self, model: AndroidWorkload, runs: int) -> tuple[NodeTiming, ...]: ...

    def remove(self, path: str) -> None: ...


class AndroidWorkload:
    """A model file on the phone, with flags of the program that are its own."""

    def __init__(
        self, device: Phone, path: str, flags: Mapping[str, str], *, partial: bool
    ) -> None:
        self._device, self.path, self.flags = device, path, flags
        self.partial = partial  # its delegate may leave a part of it to the CPU

    def sample_ms(self, runs: int) -> float:
        """Mean latency in ms of one process: at least `runs` inferences and `sample_s`."""
        return self.benchmark(runs).latency_ms

    def benchmark(self, runs: int) -> BenchmarkTimings:
        return self._device.benchmark(self, runs)

    def profile(self, runs: int = 10) -> tuple[NodeTiming, ...]:
        return self._device.profile(self, runs)

    def close(self) -> None:
        self._device.remove(self.path)


def shape_flags(model: RunnableModel) -> dict[str, str]:
    """How the program is told the shapes of a model whose axes are free.

    Raises:
        MeasurementError: real values, which it cannot take.
    """
    if model.given:
        raise MeasurementError(
            "benchmark_model draws its inputs itself; leave out --input", reason="unknown_flag"
        )
    inputs = model.file.inputs
    if all(isinstance(axis, int) for one in inputs for axis in one.shape):
        return {}
    sizes = [",".join(map(str, model.values[one.name].shape)) for one in inputs]
    return {
        "input_layer": ",".join(one.name for one in inputs),
        "input_layer_shape": ":".join(sizes),
    }


def text_of(job: JobResult) -> str:
    return job.stdout.decode(errors="replace") + "\n" + job.stderr.decode(errors="replace")


def failed_exit(job: JobResult, delegate: Delegate) -> MeasurementError:
    """Its own words when they explain the failure, else the status and the last line."""
    lines = [line for line in text_of(job).splitlines() if line.startswith(("ERROR", "FATAL"))]
    refusals = ("delegat", "CPU fallback", "compile model")  # the last is LiteRT's
    if any(words in line for words in refusals for line in lines):
        return MeasurementError(
            f"benchmark_model did not run the whole model in {RECORDED_AS[delegate]}: {lines[0]}",
            reason="delegate_not_applied",
        )
    lines += [line for line in job.stderr.decode(errors="replace").splitlines() if line.strip()]
    last = lines[-1].strip() if lines else "it said nothing"
    return MeasurementError(
        f"benchmark_model ended with status {job.exit_code}: {last}", reason="nonzero_exit"
    )
