"""The one place that imports ONNX Runtime."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.errors import DeviceUnavailableError, MeasurementError
from profiler.models.inputs import BFLOAT16, ModelInput, Values
from profiler.models.refusal import one_line

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
MAX_PROFILE_EVENTS = 1_000_000  # the profiler drops what follows, with a line in the log only

_WEIGHTS_IN = "session.model_external_initializers_file_folder_path"
_ELEMENTS = {"float": "float32", "double": "float64"}  # others are called as in numpy
_ONNX_BFLOAT16 = 16  # TensorProto.BFLOAT16


@cache
def onnx_runtime() -> Any:
    """The module, imported once.

    Raises:
        DeviceUnavailableError: it is not installed.
    """
    # from 1.32 on every session would write a database below ~/.cache and keep a thread busy
    # beside the measurement
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError:
        raise DeviceUnavailableError(
            "onnxruntime is not installed: pip install onnxruntime"
        ) from None
    return onnxruntime


def require_gpu_provider() -> None:
    """Raise DeviceUnavailableError unless this ONNX Runtime can use NVIDIA GPUs."""
    ort = onnx_runtime()
    if CUDA not in ort.get_available_providers():
        raise DeviceUnavailableError(
            f"ONNX Runtime {ort.__version__} here has no {CUDA}; pip install onnxruntime-gpu"
        )


class OnnxSession:
    """A model in ONNX Runtime: all graph optimisations, explicit threads, bound buffers.

    Args:
        model: the file, or its content.
        gpu: index of a GPU for the CUDA provider; the CPU's takes what that cannot run.
        profile: prefix of the file that the runtime's profiler writes.
        optimised: file to write the graph to that the runtime made of the model.
        weights_in: folder of weights that lie beside a model given by its content.

    Raises:
        DeviceUnavailableError: no runtime, or none for GPUs.
        MeasurementError: the runtime refuses the model, in its own words.
    """

    def __init__(
        self,
        model: bytes | Path,
        *,
        threads: int = 1,
        gpu: int | None = None,
        profile: Path | None = None,
        optimised: Path | None = None,
        weights_in: Path | None = None,
    ) -> None:
        ort = onnx_runtime()
        if gpu is not None:
            require_gpu_provider()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 4  # what goes wrong is raised, too
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        if optimised is not None:
            options.optimized_model_filepath = str(optimised)
        if weights_in is not None and not isinstance(model, Path):
            options.add_session_config_entry(_WEIGHTS_IN, str(weights_in))
        source = str(model) if isinstance(model, Path) else model
        providers = [CPU] if gpu is None else [(CUDA, {"device_id": gpu}), CPU]
        try:
            # or else, where the GPU fails, the CPU takes over, with a note on standard output
            self._session = ort.InferenceSession(
                source, options, providers=providers, enable_fallback=0
            )
        except Exception as error:  # onnxruntime raises unrelated classes of its own
            raise _refusal(error, "load_failed") from error
        self._ort = ort
        self._place = ("cpu", 0) if gpu is None else ("cuda", gpu)
        self._binding = self._session.io_binding()
        self._bound: list[Any] = []  # the binding borrows the buffers

    @property
    def inputs(self) -> tuple[ModelInput, ...]:
        return tuple(_input(one) for one in self._session.get_inputs())

    def bind(self, values: Values) -> None:
        """Give every input, so that a run is little but the model.

        Outputs of a known shape keep one buffer; others are allocated in each run.

        Raises:
            MeasurementError: the runtime refuses the values.
        """
        self._bound = []
        try:
            for one in self.inputs:
                self._bind_input(one, values[one.name])
            for output in self._session.get_outputs():
                self._bind_output(output)
        except Exception as error:
            raise _refusal(error, "load_failed") from error

    def run(self, runs: int = 1) -> None:
        """Inferences back to back.

        Raises:
            MeasurementError: one failed.
        """
        run, binding = self._session.run_with_iobinding, self._binding
        try:
            for _ in range(runs):
                run(binding)
        except Exception as error:
            raise _refusal(error, "run_failed") from error

    def outputs(self) -> dict[str, NDArray[Any]]:
        """Results of the last run."""
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._binding.copy_outputs_to_cpu(), strict=True))

    def end_profiling(self) -> Path:
        """The file that the profiler wrote, a JSON array of events."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Free the model; harmless when repeated."""
        self._bound = []
        for name in ("_binding", "_session"):
            self.__dict__.pop(name, None)

    def _bind_input(self, one: ModelInput, value: NDArray[Any]) -> None:
        if one.element == BFLOAT16:
            tensor = self._ort.OrtValue.ortvalue_from_numpy_with_onnx_type(value, _ONNX_BFLOAT16)
            self._binding.bind_ortvalue_input(one.name, tensor)
            self._bound.append(tensor)
        elif self._place[0] == "cpu":
            self._binding.bind_cpu_input(one.name, value)
            self._bound.append(value)
        else:
            tensor = self._ort.OrtValue.ortvalue_from_numpy(value, *self._place)
            self._binding.bind_ortvalue_input(one.name, tensor)
            self._bound.append(tensor)

    def _bind_output(self, output: Any) -> None:
        one = _input(output)
        fixed = all(isinstance(axis, int) for axis in one.shape) and one.element in np.sctypeDict
        if not fixed or not output.type.startswith("tensor("):
            self._binding.bind_output(output.name, *self._place)
            return
        tensor = self._ort.OrtValue.ortvalue_from_shape_and_type(
            list(one.shape), np.dtype(one.element), *self._place
        )
        self._binding.bind_ortvalue_output(output.name, tensor)
        self._bound.append(tensor)


def _refusal(error: Exception, reason: str) -> MeasurementError:
    return MeasurementError(f"ONNX Runtime: {one_line(error)}", reason=reason)


def _input(declared: Any) -> ModelInput:
    """Of a NodeArg, whose type reads `tensor(float)`, `seq(tensor(float))`, `optional(...)`."""
    kind = str(declared.type)
    element = kind.removeprefix("tensor(").removesuffix(")") if kind.startswith("tensor(") else kind
    shape = declared.shape if isinstance(declared.shape, list) else []
    axes = tuple(axis if isinstance(axis, int) and axis >= 0 else _name(axis) for axis in shape)
    return ModelInput(declared.name, _ELEMENTS.get(element, element), axes)


def _name(axis: Any) -> str:
    return axis if isinstance(axis, str) else ""
