"""TFLite written directly (no converter): an op or a network, float32 or int8.

Tensors are NHWC throughout. torch pads convolutions by k // 2 on both sides; TFLite's SAME
padding does so at stride 1, and elsewhere an explicit PAD before a VALID convolution does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from profiler.errors import InvalidInputError
from profiler.graph.litert import load_schema
from profiler.graph.ops import Activation, OpConfig, OpKind
from profiler.graph.tflite_graph import Graph, Operator, Tensor
from profiler.graph.weights import OpWeights

Precision = Literal["float32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")


def export_tflite(
    ops: Sequence[OpConfig],
    weights: Sequence[OpWeights],
    *,
    precision: Precision = "float32",
    calibration_images: NDArray[np.float32] | None = None,
) -> bytes:
    """A model of `ops` in sequence, BatchNorm folded.

    Input ``input`` [n, h, w, c] of the first op; output ``output`` [n, h, w, c] of the last, or
    [n, classes] logits. n is the ops' batch size. With `precision` ``"int8"`` both are int8
    (full-integer post-training quantisation); the ranges of all activations are taken from
    `calibration_images` [m, h, w, c].

    Raises:
        InvalidInputError: int8 without calibration images, or images of another shape.
        DeviceUnavailableError: ai-edge-litert is not installed.
    """
    if precision == "float32":
        return build_graph(ops, weights).serialise()
    from profiler.graph.quantize import calibrate, quantize

    if calibration_images is None:
        raise InvalidInputError("int8 export needs calibration images [m, h, w, c]")
    # Ranges do not depend on the batch size; the same graph at 1 has the same tensors.
    singles = [replace(op, batch_size=1) for op in ops]
    single = build_graph(singles, weights, native_hard_swish=False)
    graph = build_graph(ops, weights, native_hard_swish=False)
    return quantize(graph, calibrate(single, calibration_images)).serialise()


def build_graph(
    ops: Sequence[OpConfig], weights: Sequence[OpWeights], *, native_hard_swish: bool = True
) -> Graph:
    """The float32 graph that `export_tflite` serialises or quantises.

    Without `native_hard_swish` the activation is written as ADD, RELU6, MUL, MUL: XNNPACK has no
    int8 HARD_SWISH, and each one would split the graph into two delegates.
    """
    first = ops[0]
    builder = _Builder(native_hard_swish)
    shape = (first.batch_size, first.height_px, first.width_px, first.in_channels)
    x = builder.graph.add_tensor(Tensor("input", shape))
    builder.graph.inputs = (x,)
    for index, (op, arrays) in enumerate(zip(ops, weights, strict=True)):
        x = builder.add_op(op, arrays, x, f"op{index}")
    builder.graph.tensors[x] = replace(builder.graph.tensors[x], name="output")
    builder.graph.outputs = (x,)
    return builder.graph


@dataclass
class _Builder:
    native_hard_swish: bool
    graph: Graph = field(default_factory=Graph)
    schema: Any = field(default_factory=load_schema)

    def add_op(self, op: OpConfig, weights: OpWeights, x: int, name: str) -> int:
        match op.kind:
            case OpKind.MBCONV:
                return self._block(op, weights, x, name)
            case OpKind.AVG_POOL:
                return self._mean(x, name)
            case OpKind.LOGITS:
                return self._linear(weights, x, name)
            case _:
                return self._conv(weights, "conv", x, name, op.activation, op.stride)

    def _block(self, op: OpConfig, weights: OpWeights, x: int, name: str) -> int:
        y = x
        if op.has_expansion:
            y = self._conv(weights, "expand", y, name, op.activation)
        y = self._conv(weights, "depthwise", y, name, op.activation, op.stride)
        if op.se:
            y = self._squeeze_excite(weights, y, name)
        y = self._conv(weights, "project", y, name)
        return self._binary("ADD", x, y, f"{name}.add") if op.has_shortcut else y

    def _squeeze_excite(self, weights: OpWeights, x: int, name: str) -> int:
        gate = self._mean(x, f"{name}.squeeze")
        gate = self._conv(weights, "reduce", gate, name, Activation.RELU)
        gate = self._conv(weights, "excite", gate, name)
        return self._binary("MUL", x, self._hard_sigmoid(gate, name), f"{name}.scale")

    def _hard_sigmoid(self, x: int, name: str) -> int:
        """relu6(x + 3) / 6."""
        three = self.graph.add_constant(f"{name}.three", np.array(3, np.float32))
        sixth = self.graph.add_constant(f"{name}.sixth", np.array(1 / 6, np.float32))
        relu6 = self.schema.ActivationFunctionType.RELU6
        x = self._binary("ADD", x, three, f"{name}.relu6", relu6)
        return self._binary("MUL", x, sixth, f"{name}.gate")

    def _hard_swish(self, x: int, name: str) -> int:
        if not self.native_hard_swish:
            return self._binary("MUL", x, self._hard_sigmoid(x, name), name)
        shape = self.graph.tensors[x].shape
        return self._apply("HARD_SWISH", [x], shape, name, "HardSwishOptions")

    def _conv(
        self, weights: OpWeights, part: str, x: int, name: str,
        activation: Activation = Activation.NONE, stride: int = 1,
    ) -> int:  # fmt: skip
        kernel = weights[f"{part}.weight"]  # [out, in / groups, k, k]
        out_channels, _, k, _ = kernel.shape
        padding = self.schema.Padding.SAME
        if stride > 1 and k > 1:
            x, padding = self._pad(x, k // 2, f"{name}.{part}.pad"), self.schema.Padding.VALID
        n, h, w, _ = self.graph.tensors[x].shape
        reduced = k - 1 if padding == self.schema.Padding.VALID else 0
        fields: dict[str, Any] = {
            "padding": padding,
            "strideH": stride,
            "strideW": stride,
            "fusedActivationFunction": self._fused(activation),
        }
        if part == "depthwise":
            code, order = "DEPTHWISE_CONV_2D", (1, 2, 3, 0)  # [1, k, k, out]
            fields["depthMultiplier"] = 1
        else:
            code, order = "CONV_2D", (0, 2, 3, 1)  # [out, k, k, in]
        y = self._apply(
            code,
            [x, *self._parameters(weights, part, name, kernel.transpose(order))],
            (n, -(-(h - reduced) // stride), -(-(w - reduced) // stride), out_channels),
            f"{name}.{part}",
            "DepthwiseConv2DOptions" if part == "depthwise" else "Conv2DOptions",
            fields,
        )
        is_hard_swish = activation is Activation.HARD_SWISH
        return self._hard_swish(y, f"{name}.{part}.hs") if is_hard_swish else y

    def _linear(self, weights: OpWeights, x: int, name: str) -> int:
        kernel = weights["linear.weight"]
        shape = (self.graph.tensors[x].shape[0], len(kernel))
        inputs = [x, *self._parameters(weights, "linear", name, kernel)]
        return self._apply("FULLY_CONNECTED", inputs, shape, name, "FullyConnectedOptions")

    def _mean(self, x: int, name: str) -> int:
        axes = self.graph.add_constant(f"{name}.axes", np.array([1, 2], np.int32))
        n, _, _, channels = self.graph.tensors[x].shape
        shape, fields = (n, 1, 1, channels), {"keepDims": True}
        return self._apply("MEAN", [x, axes], shape, name, "ReducerOptions", fields)

    def _pad(self, x: int, border: int, name: str) -> int:
        borders = np.array([[0, 0], [border] * 2, [border] * 2, [0, 0]], np.int32)
        n, h, w, channels = self.graph.tensors[x].shape
        inputs = [x, self.graph.add_constant(f"{name}.borders", borders)]
        shape = (n, h + 2 * border, w + 2 * border, channels)
        return self._apply("PAD", inputs, shape, name, "PadOptions")

    def _binary(self, code: str, a: int, b: int, name: str, activation: int = 0) -> int:
        options = {"ADD": "AddOptions", "MUL": "MulOptions"}[code]
        fields = {"fusedActivationFunction": activation}
        return self._apply(code, [a, b], self.graph.tensors[a].shape, name, options, fields)

    def _parameters(
        self, weights: OpWeights, part: str, name: str, kernel: NDArray[np.float32]
    ) -> tuple[int, int]:
        """Constants of weight and bias; XNNPACK wants a bias, so an absent one is zero."""
        out_channels = len(weights[f"{part}.weight"])
        bias = weights.get(f"{part}.bias", np.zeros(out_channels, np.float32))
        return (
            self.graph.add_constant(f"{name}.{part}.weight", np.ascontiguousarray(kernel)),
            self.graph.add_constant(f"{name}.{part}.bias", bias),
        )

    def _fused(self, activation: Activation) -> int:
        functions = self.schema.ActivationFunctionType
        code: int = functions.RELU if activation is Activation.RELU else functions.NONE
        return code

    def _apply(
        self, code: str, inputs: Sequence[int], shape: tuple[int, ...], name: str,
        options: str, fields: dict[str, Any] | None = None,
    ) -> int:  # fmt: skip
        output = self.graph.add_tensor(Tensor(name, shape))
        self.graph.operators.append(Operator(code, tuple(inputs), (output,), options, fields or {}))
        return output
