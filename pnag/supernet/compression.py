"""Supernet weights in 8 bits: a quarter of the size, to ship and to send.

Weights of convolutions and of the linear layer become int8 with one float32 scale per output
channel (symmetric, to the nearest: Krishnamoorthi, 2018, arXiv:1806.08342, section 3.1). Biases,
BatchNorm and kernel matrices stay as they are. Networks still compute in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from profiler.errors import InvalidInputError

SCALE: Final = ".scale"
MAX_INT8: Final = 127


def compressed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of two and more dimensions, [out, ...], as int8, with scales float32 [out].

    >>> made = compressed({"linear.weight": torch.tensor([[0.5, -1.27], [0.0, 0.0]])})
    >>> made["linear.weight"].tolist(), made["linear.weight.scale"][0].item()
    ([[50, -127], [0, 0]], 0.009999999776482582)
    """
    made: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not name.endswith(".weight") or tensor.ndim < 2:
            made[name] = tensor
            continue
        largest = tensor.abs().amax(dim=tuple(range(1, tensor.ndim)))
        scale = torch.where(largest > 0, largest / MAX_INT8, torch.ones_like(largest))
        made[name] = (tensor / _per_channel(scale, tensor)).round().to(torch.int8)
        made[name + SCALE] = scale
    return made


def expanded(state: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """The float32 weights of `compressed`; others are as they were.

    Raises:
        InvalidInputError: int8 weights without their scales.
    """
    made: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.dtype == torch.int8:
            scale = state.get(name + SCALE)
            if scale is None or scale.shape != tensor.shape[:1]:
                raise InvalidInputError(f"{source}: {name} is int8 without a scale per channel")
            made[name] = tensor.float() * _per_channel(scale, tensor)
        elif not name.endswith(SCALE):
            made[name] = tensor
    return made


def _per_channel(scale: Tensor, tensor: Tensor) -> Tensor:
    return scale.view(-1, *[1] * (tensor.ndim - 1))
