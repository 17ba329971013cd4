"""Channel importance sorting: middle channels of every block, the most important first.

As Once-for-All does before its expand ratios become elastic (Cai et al., ICLR 2020, §3.3):
importance of a channel is the L1 norm of the projection weights that read it. The largest
subnet computes the same before and after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from pnag.supernet.elastic import ElasticBlock, ElasticMobileNetV3

_BN_PARTS = ("weight", "bias", "running_mean", "running_var")
# name inside a block -> axis of the middle channels
_MIDDLE_AXIS = {
    "inverted_bottleneck.conv.conv.weight": 0,
    **{f"inverted_bottleneck.bn.bn.{part}": 0 for part in _BN_PARTS},
    "depth_conv.conv.conv.weight": 0,
    **{f"depth_conv.bn.bn.{part}": 0 for part in _BN_PARTS},
    "depth_conv.se.fc.reduce.weight": 1,
    "depth_conv.se.fc.expand.weight": 0,
    "depth_conv.se.fc.expand.bias": 0,
    "point_linear.conv.conv.weight": 1,
}
_SE_INNER_AXIS = {
    "depth_conv.se.fc.reduce.weight": 0,
    "depth_conv.se.fc.reduce.bias": 0,
    "depth_conv.se.fc.expand.weight": 1,
}


@dataclass(frozen=True)
class BlockOrder:
    """New orders of one block's middle channels and of its squeeze-and-excitation's inner ones."""

    prefix: str
    middle: Tensor
    se_inner: Tensor | None


@torch.no_grad()
def importance_orders(model: ElasticMobileNetV3) -> list[BlockOrder]:
    """Orders by falling importance, while only the largest expand ratio has been trained."""
    orders = []
    for index, block in enumerate(model.blocks[1:], start=1):
        block = cast(ElasticBlock, block)
        tensors = dict(block.conv.state_dict())
        importance = tensors["point_linear.conv.conv.weight"].abs().sum((0, 2, 3))
        middle = importance.argsort(descending=True, stable=True)
        se_inner = None
        excite = tensors.get("depth_conv.se.fc.expand.weight")
        if excite is not None:
            se_inner = excite.abs().sum((0, 2, 3)).argsort(descending=True, stable=True)
        orders.append(BlockOrder(f"blocks.{index}.conv.", middle, se_inner))
    return orders


@torch.no_grad()
def apply_orders(tensors: Mapping[str, Tensor], orders: list[BlockOrder]) -> None:
    """Permute, in place, tensors named as in the supernet's state dict: its own weights, their
    moving average, or an optimiser's momentum. Names that are absent are passed over."""
    for order in orders:
        for axes, index in ((_MIDDLE_AXIS, order.middle), (_SE_INNER_AXIS, order.se_inner)):
            for name, axis in axes.items():
                tensor = tensors.get(order.prefix + name)
                if tensor is not None and index is not None:
                    tensor.copy_(tensor.index_select(axis, index))
