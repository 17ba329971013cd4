"""The one place that imports LiteRT (once TensorFlow Lite): its interpreter and file schema.

`ai_edge_litert` comes first. Where its native library does not load, `tflite-runtime` runs the
same models; its last release (2.14) was built against numpy 1 and crashes under numpy 2, so that
is checked before it is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.errors import DeviceUnavailableError, MeasurementError

DELEGATE = "DELEGATE"  # name of the node that stands for a delegated part of the graph


@dataclass(frozen=True, slots=True)
class Runtime:
    """An importable interpreter module, with the distribution it comes from."""

    module: Any
    name: str
    version: str


def load_runtime() -> Runtime:
    """The installed LiteRT, else TensorFlow Lite's runtime.

    Raises:
        DeviceUnavailableError: neither can be used here.
    """
    try:
        import ai_edge_litert.interpreter as litert

        return Runtime(litert, "LiteRT", version("ai-edge-litert"))
    except (ImportError, OSError) as error:
        cause = str(error)
    try:
        fallback = version("tflite-runtime")
    except PackageNotFoundError:
        raise DeviceUnavailableError(
            f"LiteRT does not load ({cause}); pip install ai-edge-litert"
        ) from None
    if int(np.__version__.partition(".")[0]) >= 2:
        raise DeviceUnavailableError(
            f"tflite-runtime {fallback} crashes under numpy {np.__version__}; "
            "pip install 'numpy<2' or ai-edge-litert"
        )
    try:
        import tflite_runtime.interpreter as tflite
    except (ImportError, OSError) as error:
        raise DeviceUnavailableError(f"tflite-runtime {fallback} does not load: {error}") from None
    return Runtime(tflite, "TensorFlow Lite", fallback)


def load_schema() -> Any:
    """The generated FlatBuffers classes of the model file (pure Python).

    Raises:
        DeviceUnavailableError: ai-edge-litert is not installed.
    """
    try:
        import ai_edge_litert.schema_py_generated as schema
    except ImportError as error:
        raise DeviceUnavailableError(
            f"the TFLite schema is missing ({error}); pip install ai-edge-litert"
        ) from None
    return schema


def library_file() -> Path:
    """LiteRT's C library, which its interpreter for Python does not show all of.

    Raises:
        DeviceUnavailableError: ai-edge-litert is not installed, or comes without it.
    """
    try:
        import ai_edge_litert
    except ImportError:
        raise DeviceUnavailableError("pip install ai-edge-litert") from None
    for folder in ai_edge_litert.__path__:
        for name in ("libLiteRt.so", "libLiteRt.dylib", "LiteRt.dll"):
            if (path := Path(folder) / name).is_file():
                return path
    raise DeviceUnavailableError(
        f"ai-edge-litert {version('ai-edge-litert')} comes without its C library"
    )


class Model:
    """A TFLite model loaded for execution; one input, one output.

    Args:
        content: the model file.
        threads: threads of XNNPACK and of the built-in kernels.
        xnnpack: apply the XNNPACK delegate (as both runtimes do by default).
        keep_tensors: keep every intermediate tensor readable (without XNNPACK only).
        runtime: where the interpreter comes from; by default `load_runtime()`.

    Raises:
        DeviceUnavailableError: no runtime.
        MeasurementError: the runtime refuses the model.
    """

    def __init__(
        self,
        content: bytes,
        *,
        threads: int = 1,
        xnnpack: bool = True,
        keep_tensors: bool = False,
        runtime: Runtime | None = None,
    ) -> None:
        self.runtime = runtime or load_runtime()
        resolvers = self.runtime.module.OpResolverType
        resolver = resolvers.BUILTIN if xnnpack else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            self._interpreter = self.runtime.module.Interpreter(
                model_content=content,
                num_threads=threads,
                experimental_op_resolver_type=resolver,
                experimental_preserve_all_tensors=keep_tensors,
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise MeasurementError(
                f"{self.runtime.name} refuses the model: {error}", reason="model_refused"
            ) from None
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self.invoke = self._interpreter.invoke  # bound once: nothing but the call is timed

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(int(size) for size in self._input["shape"])

    @property
    def input_dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self._input["dtype"])
        return dtype

    def set_input(self, values: NDArray[Any]) -> None:
        """Real values are quantised where the model's input is."""
        if self.input_dtype == np.int8 and values.dtype != np.int8:
            scale, zero_point = self._input["quantization"]
            values = np.clip(np.round(values / scale) + zero_point, -128, 127)
        self._interpreter.set_tensor(self._input["index"], values.astype(self.input_dtype))

    def output(self) -> NDArray[np.float32]:
        """A copy of the output as real values."""
        raw = self._interpreter.get_tensor(self._output["index"])
        if raw.dtype == np.int8:
            scale, zero_point = self._output["quantization"]
            raw = (raw.astype(np.float32) - zero_point) * np.float32(scale)
        values: NDArray[np.float32] = raw.astype(np.float32)
        return values

    def tensor(self, index: int) -> NDArray[Any]:
        """A copy of any tensor by its index in the file (with `keep_tensors`)."""
        values: NDArray[Any] = self._interpreter.get_tensor(index)
        return values

    def run(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Output for one input batch, as real values."""
        self.set_input(values)
        self.invoke()
        return self.output()

    @property
    def fully_delegated(self) -> bool:
        """Whether one delegate node runs the whole graph, from its input to its output.

        Node lists keep the replaced ops, so what the delegate reads and writes decides.
        """
        nodes = self._interpreter._get_ops_details()
        delegates = [node for node in nodes if node["op_name"] == DELEGATE]
        if len(delegates) != 1:
            return False
        computed = {int(i) for node in nodes for i in node["outputs"]}
        reads = {int(i) for i in delegates[0]["inputs"]}
        writes = [int(i) for i in delegates[0]["outputs"]]
        return not reads & computed and writes == [int(self._output["index"])]

    def close(self) -> None:
        """Free the interpreter; the model cannot run afterwards. Harmless when repeated."""
        for name in ("invoke", "_interpreter"):
            self.__dict__.pop(name, None)
