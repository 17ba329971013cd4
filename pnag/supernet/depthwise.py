"""Depthwise convolution whose bfloat16 training is not slower than float32 on a CPU.

oneDNN has no fast bfloat16 kernel for the weight gradient of 5x5 and 7x7 depthwise
convolutions: it takes 1.5 to 3 times as long as in float32. So that one gradient is taken in
float32, the rest stays in bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def depthwise_conv(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """`x` [n, c, h, w] with `weight` [c, 1, k, k], zero padding k // 2."""
    device = x.device.type
    if device == "cpu" and torch.is_grad_enabled() and torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        y: Tensor = _MixedDepthwise.apply(x.to(dtype), weight, stride)  # type: ignore[no-untyped-call]
        return y
    return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=len(weight))


class _MixedDepthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        with torch.autocast(x.device.type, enabled=False):
            weight = weight.to(x.dtype)
            return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        x_gradient = _gradients(gradient, x, weight.to(x.dtype), ctx.stride, of_input=True)
        wide = gradient.to(weight.dtype), x.to(weight.dtype), weight
        return x_gradient, _gradients(*wide, ctx.stride, of_input=False), None


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, *, of_input: bool
) -> Tensor:
    padding, mask = [weight.shape[-1] // 2] * 2, [of_input, not of_input, False]
    with torch.autocast(x.device.type, enabled=False):
        both = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, [stride] * 2, padding, [1, 1], False, [0, 0],
            len(weight), mask,
        )  # fmt: skip
    result: Tensor = both[0 if of_input else 1]
    return result
