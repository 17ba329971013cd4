"""Depthwise convolution that trains fast in bfloat16 on CPUs.

oneDNN 3.12 has a depthwise kernel for the weight gradient only up to 3 columns and at least as
many image rows as kernel rows; beyond, bfloat16 falls back to one that is several times slower. So
5x5 and 7x7 gradients are computed as strips of at most 3 columns. In float32 this gains nothing.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

_BLOCK_IMAGES = 8  # at a time, so that the shifted copies stay in cache


def depthwise_conv2d(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """`F.conv2d` of [n, c, h, w] with [c, 1, k, k], k odd, padded by k // 2, in the type of `x`.

    On CPUs, strided ones of bfloat16 are computed in float32: their own gradients are several
    times slower.
    """
    kernel = weight.shape[-1]
    slow = x.device.type == "cpu" and x.dtype == torch.bfloat16
    if slow and stride == 1 and kernel in (5, 7):
        # torch's own `apply` carries no types
        return cast(Tensor, Strips.apply(x, weight))  # type: ignore[no-untyped-call]
    dtype = torch.float32 if slow and stride > 1 else x.dtype
    with torch.autocast(x.device.type, enabled=False):
        y = F.conv2d(x.to(dtype), weight.to(dtype), None, stride, kernel // 2, groups=len(weight))
    return y.to(x.dtype)


class Strips(torch.autograd.Function):
    """`F.conv2d` with stride 1 and padding k // 2, k 5 or 7; its weight gradient in strips."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        weight = weight.to(x.dtype)
        ctx.save_for_backward(x, weight)
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(x, weight, None, 1, weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        kernel = weight.shape[-1]
        of_x = conv2d_input(x.shape, weight, gradient, 1, kernel // 2, 1, len(weight))
        blocks = zip(
            torch.split(x, _BLOCK_IMAGES), torch.split(gradient, _BLOCK_IMAGES), strict=True
        )
        of_weight = torch.stack([_weight_gradient(a, b, kernel).float() for a, b in blocks])
        return of_x, of_weight.sum(0)


def _weight_gradient(x: Tensor, gradient: Tensor, kernel: int) -> Tensor:
    """[c, 1, kernel, kernel], kernel 5 or 7, of one block of images."""
    channels, padding = x.shape[1], kernel // 2
    # zeros on the right and below change no sum; strips are cut two columns apart
    zeros = (0, max(0, 2 - x.shape[3]), 0, max(0, kernel - x.shape[2]))
    x, gradient = F.pad(x, zeros), F.pad(gradient, zeros)

    def strip(x: Tensor, columns: int, side_padding: int) -> Tensor:
        shape = (channels, 1, kernel, columns)
        strip_padding = (padding, side_padding)
        return cast(
            Tensor,
            conv2d_weight(x, shape, gradient, 1, strip_padding, 1, channels),
        )

    # Left and right of the middle three columns: the same, with the image shifted.
    left = strip(F.pad(x, (padding, -2)), padding - 1, 0)
    right = strip(F.pad(x, (-2, padding)), padding - 1, 0)
    return torch.cat([left, strip(x, 3, 1), right], 3)
