"""ONNX written directly (no tracing): an op or a network in about a millisecond per block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from profiler.graph.ops import Activation, OpConfig, OpKind
from profiler.graph.weights import OpWeights

OPSET = 17
IR_VERSION = 8


def export_onnx(ops: Sequence[OpConfig], weights: Sequence[OpWeights]) -> bytes:
    """A model of `ops` in sequence, BatchNorm folded, float32.

    Input ``input`` [n, c, h, w] of the first op, output ``output`` of the last; n is the
    ops' batch size. Serialised ModelProto.
    """
    serialised: bytes = build_model(ops, weights).SerializeToString()
    return serialised


def build_model(ops: Sequence[OpConfig], weights: Sequence[OpWeights]) -> ModelProto:
    """The ModelProto that `export_onnx` serialises."""
    first, last = ops[0], ops[-1]
    graph = _Graph()
    tensor = "input"
    for index, (op, arrays) in enumerate(zip(ops, weights, strict=True)):
        tensor = graph.add_op(op, arrays, tensor, f"op{index}")
    graph.nodes[-1].output[0] = "output"
    image = [first.batch_size, first.in_channels, first.height_px, first.width_px]
    features = [last.batch_size, last.out_channels]
    if last.kind is not OpKind.LOGITS:
        features += [last.out_height_px, last.out_width_px]
    proto: GraphProto = helper.make_graph(
        graph.nodes,
        "pnag",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, features)],
        graph.initializers,
    )
    opset = helper.make_opsetid("", OPSET)
    model: ModelProto = helper.make_model(
        proto, producer_name="pnag", opset_imports=[opset], ir_version=IR_VERSION
    )
    return model


@dataclass
class _Graph:
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)

    def add_op(self, op: OpConfig, weights: OpWeights, x: str, name: str) -> str:
        match op.kind:
            case OpKind.MBCONV:
                return self._block(op, weights, x, name)
            case OpKind.AVG_POOL:
                return self._node("GlobalAveragePool", [x], name)
            case OpKind.LOGITS:
                flat = self._node("Flatten", [x], f"{name}.flat", axis=1)
                params = self._params(weights, "linear", name)
                return self._node("Gemm", [flat, *params], name, transB=1)
            case _:
                y = self._conv(weights, "conv", x, name, op.kernel, op.stride)
                return self._activate(op.activation, y)

    def _block(self, op: OpConfig, weights: OpWeights, x: str, name: str) -> str:
        y = x
        if op.has_expansion:
            y = self._activate(op.activation, self._conv(weights, "expand", y, name))
        y = self._conv(weights, "depthwise", y, name, op.kernel, op.stride, op.mid_channels)
        y = self._activate(op.activation, y)
        if op.se:
            pooled = self._node("GlobalAveragePool", [y], f"{name}.squeeze")
            inner = self._node(
                "Relu", [self._conv(weights, "reduce", pooled, name)], f"{name}.reduce.relu"
            )
            gate = self._conv(weights, "excite", inner, name)
            gate = self._node("HardSigmoid", [gate], f"{name}.gate", alpha=1 / 6, beta=0.5)
            y = self._node("Mul", [y, gate], f"{name}.scale")
        y = self._conv(weights, "project", y, name)
        return self._node("Add", [x, y], f"{name}.add") if op.has_shortcut else y

    def _conv(
        self, weights: OpWeights, part: str, x: str, name: str,
        kernel: int = 1, stride: int = 1, groups: int = 1,
    ) -> str:  # fmt: skip
        return self._node(
            "Conv",
            [x, *self._params(weights, part, name)],
            f"{name}.{part}",
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
            group=groups,
        )

    def _activate(self, kind: Activation, x: str) -> str:
        if kind is Activation.NONE:
            return x
        return self._node("Relu" if kind is Activation.RELU else "HardSwish", [x], f"{x}.act")

    def _params(self, weights: OpWeights, part: str, name: str) -> list[str]:
        names = []
        for kind in ("weight", "bias"):
            if f"{part}.{kind}" in weights:
                names.append(f"{name}.{part}.{kind}")
                array: NDArray[np.float32] = weights[f"{part}.{kind}"]
                self.initializers.append(numpy_helper.from_array(array, names[-1]))
        return names

    def _node(self, op_type: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name
