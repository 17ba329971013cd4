"""A small graph of TFLite ops in memory, and its FlatBuffers file.

Written with the object API of LiteRT's own generated schema; no converter, no TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.graph.litert import load_schema

SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
BUFFER_ALIGNMENT = 16  # TFLite maps constants in place and expects them so aligned


@dataclass(frozen=True, slots=True)
class Quantization:
    """real = scale · (stored - zero_point); one pair, or one per slice along `axis`."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int = 0


@dataclass(frozen=True, slots=True)
class TFLiteTensor:
    """An activation, or a constant where `data` is given."""

    name: str
    shape: tuple[int, ...]
    dtype: type[np.generic] = np.float32
    data: NDArray[Any] | None = None
    quantization: Quantization | None = None


@dataclass(frozen=True, slots=True)
class TFLiteOperator:
    """One op. `code` and the fields of `options` are the schema's; tensors by index."""

    code: str  # name in the BuiltinOperator enumeration
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: str  # name in the BuiltinOptions union; NONE for an op without
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> int:
        return self.outputs[0]


@dataclass
class TFLiteGraph:
    """Operators in order of execution."""

    tensors: list[TFLiteTensor] = field(default_factory=list)
    operators: list[TFLiteOperator] = field(default_factory=list)
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()

    @property
    def input(self) -> int:
        return self.inputs[0]

    @property
    def output(self) -> int:
        return self.outputs[0]

    def add_tensor(self, tensor: TFLiteTensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def add_constant(self, name: str, data: NDArray[Any]) -> int:
        return self.add_tensor(TFLiteTensor(name, data.shape, data.dtype.type, data))

    def serialise(self) -> bytes:
        """The `.tflite` file."""
        return _Writer(self).file()


# Lowest op version that reads int8 (TensorFlow Lite, tools/versioning/op_version.cc).
INT8_VERSIONS = {
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "ADD": 2, "MUL": 2, "MEAN": 2,
    "PAD": 2,
}  # fmt: skip


class _Writer:
    def __init__(self, graph: TFLiteGraph) -> None:
        self._graph, self._schema = graph, load_schema()
        self._types: dict[type[np.generic], int] = {
            np.float32: self._schema.TensorType.FLOAT32,
            np.int8: self._schema.TensorType.INT8,
            np.int32: self._schema.TensorType.INT32,
        }
        self._aligned_buffer = _aligned_buffer_class(self._schema)
        self._buffers = [self._table("Buffer")]  # buffer 0 is the empty one, by convention

    def file(self) -> bytes:
        import flatbuffers

        graph = self._graph
        codes = sorted({operator.code for operator in graph.operators})
        subgraph = self._table(
            "SubGraph",
            name="main",
            tensors=[self._tensor(tensor) for tensor in graph.tensors],
            operators=[self._operator(op, codes.index(op.code)) for op in graph.operators],
            inputs=list(graph.inputs),
            outputs=list(graph.outputs),
        )
        model = self._table(
            "Model",
            version=SCHEMA_VERSION,
            description="pnag",
            operatorCodes=[self._operator_code(code) for code in codes],
            subgraphs=[subgraph],
            buffers=self._buffers,
        )
        n_bytes = sum(t.data.nbytes for t in graph.tensors if t.data is not None)
        builder = flatbuffers.Builder(n_bytes + 65_536)
        builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _table(self, name: str, /, **fields: Any) -> Any:
        """A `NAMET` object; set attribute by attribute, as older generated classes take none."""
        table = getattr(self._schema, f"{name}T")()
        for key, value in fields.items():
            if not hasattr(table, key):
                raise AttributeError(f"{name} has no field {key}")
            setattr(table, key, value)
        return table

    def _tensor(self, tensor: TFLiteTensor) -> Any:
        buffer = 0
        if tensor.data is not None:
            data = np.ascontiguousarray(tensor.data).reshape(-1)
            buffer = len(self._buffers)
            self._buffers.append(self._aligned_buffer(data.view(np.uint8)))
        table = self._table(
            "Tensor",
            name=tensor.name,
            shape=list(tensor.shape),
            type=self._types[tensor.dtype],
            buffer=buffer,
        )
        if tensor.quantization is not None:
            table.quantization = self._table(
                "QuantizationParameters",
                scale=tensor.quantization.scale,
                zeroPoint=tensor.quantization.zero_point,
                quantizedDimension=tensor.quantization.axis,
            )
        return table

    def _operator(self, operator: TFLiteOperator, opcode: int) -> Any:
        return self._table(
            "Operator",
            opcodeIndex=opcode,
            inputs=list(operator.inputs),
            outputs=list(operator.outputs),
            builtinOptionsType=getattr(self._schema.BuiltinOptions, operator.options),
            builtinOptions=(
                None
                if operator.options == "NONE"
                else self._table(operator.options, **operator.fields)
            ),
        )

    def _operator_code(self, code: str) -> Any:
        number = getattr(self._schema.BuiltinOperator, code)
        is_int8 = self._graph.tensors[self._graph.input].dtype is np.int8
        return self._table(
            "OperatorCode",
            builtinCode=number,
            deprecatedBuiltinCode=min(number, 127),  # PLACEHOLDER_FOR_GREATER_OP_CODES
            version=INT8_VERSIONS.get(code, 1) if is_int8 else 1,
        )


def _aligned_buffer_class(schema: Any) -> Any:
    class AlignedBuffer(schema.BufferT):  # type: ignore[misc] # generated, without types
        def __init__(self, data: NDArray[np.uint8]) -> None:
            super().__init__()
            self.data = data

        def Pack(self, builder: Any) -> Any:  # noqa: N802 - the base class names it so
            builder.Prep(BUFFER_ALIGNMENT, len(self.data))
            return super().Pack(builder)

    return AlignedBuffer
