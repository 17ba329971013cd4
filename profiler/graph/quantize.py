"""Full-integer post-training quantisation of a TFLite graph.

After TensorFlow Lite's 8-bit quantisation specification: activations int8 with one scale and
zero point per tensor, convolution weights int8 symmetric per output channel, fully connected
weights symmetric per tensor, biases int32 at the product of both scales, PAD with one scale for
input and output (Jacob et al., CVPR 2018, section 2, is the arithmetic).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from profiler.errors import InvalidInputError
from profiler.graph.tflite_graph import (
    INT8_VERSIONS,
    Quantization,
    TFLiteGraph,
    TFLiteOperator,
    TFLiteTensor,
)

INT8_MIN, INT8_MAX = -128, 127
_WEIGHT_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": None}
_MAX_ADD_RATIO = 2**7  # XNNPACK adds only if input scale / output scale is below 2^8
_BIAS_LIMIT = 2**30  # half of int32: leaves room for the sum that the bias starts

Range = tuple[float, float]


def calibrate(graph: TFLiteGraph, images: NDArray[np.float32]) -> list[Range]:
    """(smallest, largest) value of every tensor over `images` [m, h, w, c]; constants' own.

    `graph` is run by the runtime's built-in float32 kernels, which, unlike XNNPACK, keep every
    intermediate tensor.

    Raises:
        InvalidInputError: no images, or images of another shape than the graph's input.
    """
    from profiler.graph.litert import Model

    expected = graph.tensors[graph.input].shape[1:]
    if images.ndim != 4 or not len(images) or images.shape[1:] != expected:
        raise InvalidInputError(
            f"calibration images have shape {list(images.shape)}, expected "
            f"[m, {', '.join(map(str, expected))}] with m > 0"
        )
    low = [np.inf if t.data is None else float(t.data.min()) for t in graph.tensors]
    high = [-np.inf if t.data is None else float(t.data.max()) for t in graph.tensors]
    activations = [i for i, tensor in enumerate(graph.tensors) if tensor.data is None]
    model = Model(graph.serialise(), xnnpack=False, keep_tensors=True)
    batch_size = graph.tensors[graph.input].shape[0]
    for start in range(0, len(images), batch_size):  # the last images fill their batch
        batch = images[start : start + batch_size]
        model.set_input(np.resize(batch, (batch_size, *expected)))
        model.invoke()
        for index in activations:
            values = model.tensor(index)
            low[index] = min(low[index], float(values.min()))
            high[index] = max(high[index], float(values.max()))
    model.close()
    return list(zip(low, high, strict=True))


def quantize(graph: TFLiteGraph, ranges: Sequence[Range]) -> TFLiteGraph:
    """The int8 graph of a float32 one; `ranges` as from `calibrate`, by tensor index.

    Raises:
        InvalidInputError: an operator whose quantisation is not known.
    """
    unknown = sorted({operator.code for operator in graph.operators} - INT8_VERSIONS.keys())
    if unknown:
        raise InvalidInputError(f"no int8 quantisation of {', '.join(unknown)}")
    tensors = [
        _as_int8(tensor, affine(low, high)) if tensor.dtype is np.float32 else tensor
        for tensor, (low, high) in zip(graph.tensors, ranges, strict=True)
    ]
    for operator in graph.operators:  # in order of execution: inputs are final before use
        if operator.code == "PAD":
            scale = tensors[operator.inputs[0]].quantization
            tensors[operator.output] = replace(tensors[operator.output], quantization=scale)
        elif operator.code == "ADD":
            _bound_scale(operator, tensors)
        elif operator.code in _WEIGHT_AXIS:
            _quantize_parameters(operator, graph, tensors)
    return replace(graph, tensors=tensors)


def affine(low: float, high: float) -> Quantization:
    """Scale and zero point that map [low, high], widened to hold 0 exactly, to int8.

    >>> q = affine(-1.0, 3.0)
    >>> round(float(q.scale[0]) * 255, 5), int(q.zero_point[0])
    (4.0, -64)
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (INT8_MAX - INT8_MIN) or 1.0
    zero_point = np.clip(np.round(INT8_MIN - low / scale), INT8_MIN, INT8_MAX)
    return Quantization(np.array([scale], np.float32), np.array([zero_point], np.int64))


def _as_int8(tensor: TFLiteTensor, quantization: Quantization) -> TFLiteTensor:
    """An activation declared int8, or a scalar constant stored as int8."""
    data = tensor.data
    if data is not None:
        stored = np.round(data / quantization.scale[0]) + quantization.zero_point[0]
        data = np.clip(stored, INT8_MIN, INT8_MAX).astype(np.int8)
    return replace(tensor, dtype=np.int8, data=data, quantization=quantization)


def _bound_scale(operator: TFLiteOperator, tensors: list[TFLiteTensor]) -> None:
    """Coarsen the sum where an input is far coarser: hard-sigmoid's ADD, RELU6 of a wide input."""
    scales = [q.scale[0] for i in operator.inputs if (q := tensors[i].quantization) is not None]
    output = tensors[operator.output]
    finest = max(scales) / _MAX_ADD_RATIO
    if output.quantization is not None and output.quantization.scale[0] < finest:
        low = (INT8_MIN - output.quantization.zero_point[0]) * output.quantization.scale[0]
        coarser = affine(float(low), float(low + finest * (INT8_MAX - INT8_MIN)))
        tensors[operator.output] = replace(output, quantization=coarser)


def _quantize_parameters(
    operator: TFLiteOperator, graph: TFLiteGraph, tensors: list[TFLiteTensor]
) -> None:
    """Weights to int8 symmetric, bias to int32 at scale input · weight."""
    x, weight, bias = operator.inputs
    kernel, shift = graph.tensors[weight].data, graph.tensors[bias].data
    source = tensors[x].quantization
    if kernel is None or shift is None or source is None:
        raise ValueError(f"{operator.code} needs constant weights and a quantised input")
    axis = _WEIGHT_AXIS[operator.code]
    others = None if axis is None else tuple(i for i in range(kernel.ndim) if i != axis)
    largest = np.atleast_1d(np.abs(kernel).max(axis=others)).astype(np.float64)
    x_scale = float(source.scale[0])
    # A channel of tiny weights and a large bias would overflow int32 at this scale.
    bias_floor = np.abs(shift) if axis is not None else np.abs(shift).max(keepdims=True)
    scale = np.maximum(largest / INT8_MAX, bias_floor / (x_scale * _BIAS_LIMIT))
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    zeros = np.zeros(len(scale), np.int64)

    shape = [1] * kernel.ndim
    shape[axis or 0] = len(scale)
    stored = np.clip(np.round(kernel / scale.reshape(shape)), -INT8_MAX, INT8_MAX)
    tensors[weight] = replace(
        graph.tensors[weight],
        dtype=np.int8,
        data=stored.astype(np.int8),
        quantization=Quantization(scale, zeros, axis or 0),
    )
    bias_scale = x_scale * scale.astype(np.float64)
    tensors[bias] = replace(
        graph.tensors[bias],
        dtype=np.int32,
        data=np.round(shift / bias_scale).astype(np.int32),
        quantization=Quantization(bias_scale.astype(np.float32), zeros),
    )
