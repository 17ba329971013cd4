"""A TFLite file in LiteRT's interpreter: any inputs and outputs, XNNPACK where it can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from profiler.errors import MeasurementError
from profiler.graph.litert import load_runtime
from profiler.models.inputs import ModelInput, Values
from profiler.models.refusal import one_line


class Interpreter:
    """A file loaded as it is; tensors are allocated when values are bound.

    Raises:
        DeviceUnavailableError: no runtime.
        MeasurementError: the runtime refuses the file, in its own words.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        runtime = load_runtime()
        self._runtime_name = runtime.name
        try:
            self._interpreter = runtime.module.Interpreter(
                model_path=str(path),
                num_threads=threads,
                experimental_op_resolver_type=runtime.module.OpResolverType.BUILTIN,
            )
        except (ValueError, RuntimeError) as error:
            raise self._refusal(error, "load_failed") from None

    @property
    def inputs(self) -> tuple[ModelInput, ...]:
        """Raises MeasurementError: one has a name that is not text."""
        try:
            found = self._interpreter.get_input_details()
        except (ValueError, RuntimeError) as error:
            raise self._refusal(error, "load_failed") from None
        return tuple(
            ModelInput(
                one["name"],
                _element(one["dtype"]),
                tuple(int(size) if size >= 0 else "" for size in one["shape_signature"]),
            )
            for one in found
        )

    def bind(self, values: Values) -> None:
        """Resize and set every input.

        Raises:
            MeasurementError: the runtime refuses the shapes, or cannot run one of the ops.
        """
        interpreter = self._interpreter
        try:
            for one in interpreter.get_input_details():
                shape = values[one["name"]].shape
                if tuple(one["shape"]) != shape:
                    interpreter.resize_tensor_input(one["index"], shape)
            interpreter.allocate_tensors()
            for one in interpreter.get_input_details():
                interpreter.set_tensor(one["index"], values[one["name"]])
        except (ValueError, RuntimeError) as error:
            raise self._refusal(error, "load_failed") from None

    def run(self, runs: int = 1) -> None:
        """Inferences back to back.

        Raises:
            MeasurementError: one failed.
        """
        invoke = self._interpreter.invoke
        try:
            for _ in range(runs):
                invoke()
        except (ValueError, RuntimeError) as error:
            raise self._refusal(error, "run_failed") from None

    def close(self) -> None:
        """Free the model; harmless when repeated."""
        self.__dict__.pop("_interpreter", None)

    def _refusal(self, error: Exception, reason: str) -> MeasurementError:
        return MeasurementError(f"{self._runtime_name}: {one_line(error)}", reason=reason)


def _element(dtype: Any) -> str:
    kind = np.dtype(dtype)
    return "string" if kind.kind in "SUO" else kind.name
