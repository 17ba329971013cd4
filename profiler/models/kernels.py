"""The kernels of a model file, in the runtime of its format."""

from __future__ import annotations

from profiler.models.file import ModelFormat, RunnableModel
from profiler.models.kernel import Kernel
from profiler.models.onnx_kernels import onnx_kernel_shares, onnx_kernels
from profiler.models.tflite_kernels import tflite_kernels

PROFILE_S = 0.15  # of plain runs, and as much of profiled ones


def kernels_of(model: RunnableModel) -> tuple[Kernel, ...]:
    """In order of execution.

    Raises:
        MeasurementError: the runtime refuses the model or its values.
        InvalidInputError: the file leaves sizes open.
    """
    if model.file.format is ModelFormat.ONNX:
        return onnx_kernels(model.file.path, model.values)
    return tflite_kernels(model.file.path)


def kernel_shares(model: RunnableModel, *, threads: int) -> tuple[tuple[Kernel, float | None], ...]:
    """With their shares of the latency, which sum to 1; None where the runtime does not tell
    them by the ops of the file. Raises as `kernels_of`."""
    if model.file.format is ModelFormat.ONNX:
        return onnx_kernel_shares(model.file.path, model.values, threads=threads, max_s=PROFILE_S)
    return tuple((kernel, None) for kernel in tflite_kernels(model.file.path))
