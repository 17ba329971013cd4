"""The block of MobileNetV2 and its descendants, by the names of Once-for-All's state dicts."""

from __future__ import annotations

from typing import Any

from profiler.graph.graph import GraphBuilder, Tensor
from profiler.graph.layers import (
    Activation,
    BatchNorm,
    Elementwise,
    Function,
    GlobalPool,
    Operation,
    Statistic,
    square_convolution,
)


def add_inverted_residual(
    builder: GraphBuilder,
    x: Tensor,
    *,
    mid: int,
    out: int,
    kernel: int,
    stride: int,
    activation: Function | None,
    se_channels: int = 0,
    eps: float = 1e-5,
) -> Tensor:
    """Expansion to `mid` channels unless x has them, depthwise convolution, projection to `out`.

    The block adds its input where it keeps both size and channels. With `se_channels`, its channels
    are weighted by squeeze-and-excitation.
    """
    norm, y = BatchNorm(eps), x
    act = {} if activation is None else {"act": Activation(activation)}
    if mid != x.shape[1]:
        layers = {"conv": square_convolution(mid), "bn": norm, **act}
        y = builder.add_row(_under("conv.inverted_bottleneck", layers), y)
    layers = {"conv": square_convolution(mid, kernel, stride, groups=mid), "bn": norm, **act}
    y = builder.add_row(_under("conv.depth_conv", layers), y)
    if se_channels:
        layers = {
            "squeeze": GlobalPool(Statistic.MEAN),
            "fc.reduce": square_convolution(se_channels, bias=True),
            "fc.relu": Activation(Function.RELU),
            "fc.expand": square_convolution(mid, bias=True),
            "fc.h_sigmoid": Activation(Function.HARD_SIGMOID),
        }
        gate = builder.add_row(_under("conv.depth_conv.se", layers), y)
        y = builder.add("conv.depth_conv.se.scale", Elementwise(Operation.MULTIPLY), y, gate)
    layers = {"conv": square_convolution(out), "bn": norm}
    y = builder.add_row(_under("conv.point_linear", layers), y)
    if stride != 1 or out != x.shape[1]:
        return y
    return builder.add("shortcut", Elementwise(Operation.ADD), x, y)


def _under(module: str, layers: dict[str, Any]) -> dict[str, Any]:
    return {f"{module}.{name}": layer for name, layer in layers.items()}
