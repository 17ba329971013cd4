"""A network of the space as a torch module: what is trained, and exported with its weights.

Module and parameter names follow Once-for-All's MobileNetV3 (first_conv, blocks.N.conv.
{inverted_bottleneck, depth_conv, point_linear}, final_expand_layer, feature_mix_layer,
classifier), so that its state dicts load as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from profiler.graph.graph import Graph, Weights, chain
from profiler.graph.op import Op
from profiler.graph.to_torch import GraphModule, weights_of
from profiler.spaces.mobilenetv3_ops import HEAD_MODULES, module_names


class Network(nn.Module):
    """A whole network from its ops: images [n, 3, h, w] to logits [n, classes]."""

    def __init__(self, ops: Sequence[Op]) -> None:
        super().__init__()
        self.ops = tuple(ops)
        modules = [GraphModule(op.graph) for op in ops]
        first, blocks, head = (
            modules[0],
            modules[1 : -len(HEAD_MODULES)],
            modules[-len(HEAD_MODULES) :],
        )
        self.first_conv = first
        self.blocks = nn.ModuleList(blocks)
        for name, module in zip(HEAD_MODULES, head, strict=True):
            self.add_module(name, module)

    def as_graph(self) -> Graph:
        """All ops in a row; its weights bear the names of the state dict."""
        names = module_names(len(self.ops))
        return chain([(name, op.graph) for name, op in zip(names, self.ops, strict=True)])

    def weights(self) -> Weights:
        """The weights of `as_graph()`."""
        return weights_of(self, self.as_graph())

    def op_modules(self) -> list[nn.Module]:
        """The modules in order of execution, one per op."""
        return [self.first_conv, *self.blocks, *(getattr(self, name) for name in HEAD_MODULES)]

    def forward(self, x: Tensor) -> Tensor:
        for module in self.op_modules():
            x = module(x)
        return x
