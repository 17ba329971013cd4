"""Weights of an op as plain arrays, BatchNorm already folded: what exporters write.

Layout is torch's: convolutions [out, in / groups, k, k], linear [out, in], biases [out].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from profiler.graph.ops import OpConfig, OpKind

OpWeights = dict[str, NDArray[np.float32]]


def weight_shapes(op: OpConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an op's folded weights.

    Blocks have `expand` (absent when mid equals in), `depthwise`, `reduce` and `excite`
    (with squeeze-and-excitation) and `project`; other ops have `conv` or `linear`.
    `Conv_2` is published without a bias, so it has none here.
    """
    if op.kind is OpKind.AVG_POOL:
        return {}
    if op.kind is OpKind.LOGITS:
        return _with_bias("linear", (op.out_channels, op.in_channels))
    if op.kind is not OpKind.MBCONV:
        shape = (op.out_channels, op.in_channels, op.kernel, op.kernel)
        return {"conv.weight": shape} if op.kind is OpKind.CONV_2 else _with_bias("conv", shape)
    mid, inner = op.mid_channels, op.se_channels
    shapes: dict[str, tuple[int, ...]] = {}
    if op.has_expansion:
        shapes |= _with_bias("expand", (mid, op.in_channels, 1, 1))
    shapes |= _with_bias("depthwise", (mid, 1, op.kernel, op.kernel))
    if op.se:
        shapes |= _with_bias("reduce", (inner, mid, 1, 1))
        shapes |= _with_bias("excite", (mid, inner, 1, 1))
    return shapes | _with_bias("project", (op.out_channels, mid, 1, 1))


def random_weights(op: OpConfig, rng: np.random.Generator) -> OpWeights:
    """He-scaled normal weights and small biases: activations stay of order one, so that
    timing meets no denormals."""
    weights: OpWeights = {}
    for name, shape in weight_shapes(op).items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 100
        weights[name] = rng.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32)
    return weights


def _with_bias(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
