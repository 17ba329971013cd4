"""The kernels of a TFLite file: its own ops, in which activations are fused."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from profiler.errors import InvalidInputError
from profiler.graph.litert import load_schema
from profiler.models.kernel import Kernel, Shape, Value
from profiler.system.user_files import read_bytes

_DEPTHWISE = "DEPTHWISE_CONV_2D"
_FUSED = "fusedActivationFunction"
_BY_AXIS = {
    "strides": ("strideH", "strideW"),
    "dilations": ("dilationHFactor", "dilationWFactor"),
}


def tflite_kernels(path: Path) -> tuple[Kernel, ...]:
    """The ops of the file's main graph, in order of execution.

    Raises:
        InvalidInputError: not such a file, or with sizes that the file leaves open.
        DeviceUnavailableError: ai-edge-litert is not installed.
    """
    content = read_bytes(path)
    try:
        model = load_schema().ModelT.InitFromPackedBuf(content, 0)
        return tuple(_kernels(model))
    except (ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        raise InvalidInputError(f"{path} is not a TFLite model: {error}") from None


def _kernels(model: Any) -> Iterator[Kernel]:
    graph = model.subgraphs[0]
    constant = [
        bool(model.buffers[one.buffer].data is not None or one.type == -1) for one in graph.tensors
    ]
    for op in graph.operators:
        kind = _kind(model.operatorCodes[op.opcodeIndex])
        given = [int(index) for index in op.inputs if index >= 0]
        inputs = [_shape(graph.tensors[index]) for index in given if not constant[index]]
        weights = [
            _as_torch_lays(kind, _shape(graph.tensors[index])) for index in given if constant[index]
        ]
        outputs = [_shape(graph.tensors[index]) for index in map(int, op.outputs)]
        yield Kernel(kind, tuple(inputs), tuple(weights), tuple(outputs), _settings(op))


def _kind(code: Any) -> str:
    builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = _names("BuiltinOperator")[builtin]
    return code.customCode.decode() if name == "CUSTOM" else name


@cache
def _names(enumeration: str) -> dict[int, str]:
    values = vars(getattr(load_schema(), enumeration))
    return {value: name for name, value in values.items() if isinstance(value, int)}


def _shape(tensor: Any) -> Shape:
    """Channels before the image, as ONNX has them."""
    sizes = tuple(int(size) for size in tensor.shape) if tensor.shape is not None else ()
    if min(sizes, default=1) < 1:
        raise InvalidInputError(f"the tensor {tensor.name.decode()} has no fixed shape {sizes}")
    return (sizes[0], sizes[3], *sizes[1:3]) if len(sizes) == 4 else sizes


def _as_torch_lays(kind: str, shape: Shape) -> Shape:
    """[1, channels, h, w] of a depthwise kernel as [channels, 1, h, w]."""
    return (shape[1], 1, *shape[2:]) if kind == _DEPTHWISE and len(shape) == 4 else shape


def _settings(op: Any) -> tuple[tuple[str, Value], ...]:
    """Strides and dilations, the fused activation, and windows of poolings, under ONNX's names."""
    options = vars(op.builtinOptions) if op.builtinOptions is not None else {}
    found: dict[str, Value] = {}
    if options.get(_FUSED):
        found["activation"] = _names("ActivationFunctionType")[options[_FUSED]].capitalize()
    for name, sides in _BY_AXIS.items():
        steps = tuple(options.get(side, 1) for side in sides)
        if set(steps) != {1}:
            found[name] = steps
    if options.get("filterHeight"):
        found["kernel_shape"] = (options["filterHeight"], options["filterWidth"])
    return tuple(sorted(found.items()))
