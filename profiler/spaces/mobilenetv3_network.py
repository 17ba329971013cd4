"""A network of the space as a torch module: what is trained, and exported with its weights.

Module and parameter names follow Once-for-All's MobileNetV3 (first_conv, blocks.N.conv.
{inverted_bottleneck, depth_conv, point_linear}, final_expand_layer, feature_mix_layer,
classifier), so that its state dicts load as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from profiler.graph.op import Op
from profiler.spaces.mobilenetv3_ops import module_names
from profiler.spaces.row_network import RowNetwork


class Network(RowNetwork):
    """A whole network from its ops: images [n, 3, h, w] to logits [n, classes]."""

    def __init__(self, ops: Sequence[Op]) -> None:
        super().__init__(ops, module_names(len(ops)))
