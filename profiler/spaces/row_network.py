"""A network whose ops follow one another, as a torch module under the published names."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from profiler.graph.graph import Graph, Weights, chain
from profiler.graph.op import Op
from profiler.graph.to_torch import GraphModule, insert_module, weights_of


class RowNetwork(nn.Module):
    """A whole network from its ops: images [n, 3, h, w] to logits [n, classes].

    Args:
        names: of the modules, one per op; dots lead into modules, as in a state dict.
    """

    def __init__(self, ops: Sequence[Op], names: Sequence[str]) -> None:
        super().__init__()
        self.ops, self.names = tuple(ops), tuple(names)
        for op, name in zip(ops, names, strict=True):
            insert_module(self, name, GraphModule(op.graph))

    def as_graph(self) -> Graph:
        """All ops in a row; its weights bear the names of the state dict."""
        return chain([(name, op.graph) for name, op in zip(self.names, self.ops, strict=True)])

    def weights(self) -> Weights:
        """The weights of `as_graph()`."""
        return weights_of(self, self.as_graph())

    def op_modules(self) -> list[nn.Module]:
        """The modules in order of execution, one per op."""
        return [self.get_submodule(name) for name in self.names]

    def forward(self, x: Tensor) -> Tensor:
        for module in self.op_modules():
            x = module(x)
        return x
