"""The torch module of a graph: the numeric oracle of the writers, and what is trained.

Its state dict bears the names of the graph's weights: a node `a.b.conv` is the submodule at
that path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import singledispatch
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from profiler.errors import InvalidInputError
from profiler.graph import layers, moves
from profiler.graph.folding import fold, fold_weights
from profiler.graph.graph import Graph, Node, Weights
from profiler.graph.layers import Function, Operation, Statistic
from profiler.graph.moves import Interpolation

Module = TypeVar("Module", bound=nn.Module)
Names = tuple[str, ...]


class GraphModule(nn.Module):
    """Takes the graph's inputs in order; returns its output, or a tuple of several.

    Batches and images may be of other sizes than the graph's, where no layer states them.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.source = graph
        for node in graph.nodes:
            insert_module(self, node.name, layer_module(node.layer, node))
        # by name: a submodule may be replaced by another
        self._steps = list(_steps(graph))

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        values = dict(zip((tensor.name for tensor in self.source.inputs), inputs, strict=True))
        for path, reads, makes, frees in self._steps:
            module: nn.Module = self
            for name in path:
                module = module._modules[name]  # type: ignore[assignment]  # None is of no node
            made = module(*[values[tensor] for tensor in reads])
            values.update(zip(makes, made if isinstance(made, tuple) else (made,), strict=True))
            for tensor in frees:
                del values[tensor]
        found = tuple(values[tensor.name] for tensor in self.source.outputs)
        return found if len(found) > 1 else found[0]

    def as_graph(self) -> Graph:
        return self.source

    def weights(self) -> Weights:
        """The weights of `as_graph()`."""
        return weights_of(self, self.source)


def insert_module(root: nn.Module, path: str, module: nn.Module) -> None:
    """Add a module at a path whose dots lead into modules, which are made where they are not."""
    *folders, name = path.split(".")
    for folder in folders:
        if folder not in root._modules:
            root.add_module(folder, nn.Module())
        root = cast(nn.Module, root._modules[folder])
    if (folder_of_others := root._modules.get(name)) is not None:
        for child, inner in folder_of_others.named_children():
            module.add_module(child, inner)
    root.add_module(name, module)


class Call(nn.Module):
    """A function without weights as a module."""

    def __init__(self, function: Callable[..., Tensor | tuple[Tensor, ...]]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self._function(*inputs)


def _steps(graph: Graph) -> Iterator[tuple[Names, Names, Names, Names]]:
    """Of every node: its path, the tensors it reads and makes, those that nothing reads after."""
    last = {name: nodes[-1] for name, nodes in graph.readers.items()}
    kept = {tensor.name for tensor in graph.outputs}
    for node in graph.nodes:
        reads = tuple(tensor.name for tensor in node.inputs)
        frees = {name for name in reads if last[name] is node} - kept
        makes = tuple(tensor.name for tensor in node.outputs)
        yield tuple(node.name.split(".")), reads, makes, tuple(frees)


def weights_of(module: nn.Module, graph: Graph) -> Weights:
    """The weights that `graph` names, from a module with a state dict of those names."""
    state = module.state_dict()
    return {name: state[name].detach().cpu().numpy() for name in graph.weight_shapes}


def folded(module: GraphModule) -> GraphModule:
    """The module of `fold(graph)` that computes the same in inference mode."""
    graph = module.source
    other = GraphModule(fold(graph))
    weights = fold_weights(graph, weights_of(module, graph))
    state = {name: torch.from_numpy(array) for name, array in weights.items()}
    other.load_state_dict(state, strict=False)  # BatchNorm's count of batches is no weight
    return other.eval()


def randomise_(module: Module, *, seed: int) -> Module:
    """Random weights and BatchNorm statistics, in place: for tests and latency-only exports.

    Unit-gain weights: larger ones let rounding errors grow from block to block.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, _BatchNorm):
                for tensor in (layer.weight, layer.running_var):
                    cast(Tensor, tensor).uniform_(0.5, 1.5, generator=generator)
                for tensor in (layer.bias, layer.running_mean):
                    cast(Tensor, tensor).normal_(0, 0.2, generator=generator)
            elif isinstance(layer, (_ConvNd, nn.Linear)):
                fan_in = layer.weight[0].numel()
                layer.weight.normal_(0, fan_in**-0.5, generator=generator)
                if layer.bias is not None:
                    layer.bias.normal_(0, 0.1, generator=generator)
    return module.eval()


# --- one module per layer kind --------------------------------------------------------------


@singledispatch
def layer_module(layer: layers.Layer, node: Node) -> nn.Module:
    """The module of one layer.

    Raises:
        InvalidInputError: torch has no such layer.
    """
    raise InvalidInputError(f"{node.name}: no torch module of {type(layer).__name__}")


@layer_module.register
def _(layer: layers.Convolution, node: Node) -> nn.Module:
    kind: Callable[..., nn.Module] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(layer.kernel) - 1]
    symmetric = _is_symmetric(layer.padding)
    convolution = kind(
        node.inputs[0].shape[1], layer.out_channels, layer.kernel, layer.strides,
        layer.padding[: len(layer.kernel)] if symmetric else 0,
        layer.dilations, layer.groups, layer.bias,
    )  # fmt: skip
    if not symmetric:
        borders = _borders(layer.padding)
        convolution.register_forward_pre_hook(lambda _, inputs: F.pad(inputs[0], borders))
    return convolution


@layer_module.register
def _(layer: layers.TransposedConvolution, node: Node) -> nn.Module:
    if not _is_symmetric(layer.padding):
        raise InvalidInputError(f"{node.name}: padding {layer.padding} differs by side")
    kinds = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    kind: Callable[..., nn.Module] = kinds[len(layer.kernel) - 1]
    return kind(
        node.inputs[0].shape[1], layer.out_channels, layer.kernel, layer.strides,
        layer.padding[: len(layer.kernel)], layer.output_padding, layer.groups, layer.bias,
        layer.dilations,
    )  # fmt: skip


@layer_module.register
def _(layer: layers.Linear, node: Node) -> nn.Module:
    return nn.Linear(node.inputs[0].shape[-1], layer.out_features, layer.bias)


@layer_module.register
def _(layer: layers.BatchNorm, node: Node) -> nn.Module:
    rank = len(node.inputs[0].shape)
    kind = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(rank, nn.BatchNorm1d)
    return kind(node.inputs[0].shape[1], eps=layer.eps)


@layer_module.register
def _(layer: layers.LayerNorm, node: Node) -> nn.Module:
    return nn.LayerNorm(node.inputs[0].shape[-layer.n_axes :], eps=layer.eps)


@layer_module.register
def _(layer: layers.PRelu, node: Node) -> nn.Module:
    return nn.PReLU(node.inputs[0].shape[1] if layer.per_channel else 1)


class _Constant(nn.Module):
    def __init__(self, layer: layers.Constant) -> None:
        super().__init__()
        self.value: Tensor
        if layer.number is None:
            self.value = nn.Parameter(torch.ones(layer.shape))
        else:
            self.register_buffer("value", torch.full(layer.shape, layer.number), persistent=False)

    def forward(self) -> Tensor:
        return self.value


@layer_module.register
def _(layer: layers.Constant, node: Node) -> nn.Module:
    return _Constant(layer)


_FUNCTIONS: dict[Function, Callable[[], nn.Module]] = {
    Function.RELU: nn.ReLU,
    Function.RELU6: nn.ReLU6,
    Function.HARD_SIGMOID: nn.Hardsigmoid,
    Function.HARD_SWISH: nn.Hardswish,
    Function.SIGMOID: nn.Sigmoid,
    Function.SILU: nn.SiLU,
    Function.GELU: nn.GELU,
    Function.TANH: nn.Tanh,
    Function.ELU: nn.ELU,
    Function.SOFTPLUS: nn.Softplus,
    Function.ERF: lambda: Call(torch.erf),
    Function.EXP: lambda: Call(torch.exp),
    Function.LOG: lambda: Call(torch.log),
    Function.SQRT: lambda: Call(torch.sqrt),
    Function.ABS: lambda: Call(torch.abs),
    Function.NEGATIVE: lambda: Call(torch.neg),
}
_OPERATIONS: dict[Operation, Callable[[Tensor, Tensor], Tensor]] = {
    Operation.ADD: torch.add,
    Operation.SUBTRACT: torch.sub,
    Operation.MULTIPLY: torch.mul,
    Operation.DIVIDE: torch.div,
    Operation.POWER: torch.pow,
    Operation.MAXIMUM: torch.maximum,
    Operation.MINIMUM: torch.minimum,
}
# by the number of axes after the channels
_MAX_POOLS: Sequence[Callable[..., Tensor]] = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
_MEAN_POOLS: Sequence[Callable[..., Tensor]] = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
_REDUCTIONS: dict[Statistic, Callable[..., Tensor]] = {
    Statistic.MEAN: torch.mean,
    Statistic.MAX: torch.amax,
    Statistic.MIN: torch.amin,
    Statistic.SUM: torch.sum,
}


@layer_module.register
def _(layer: layers.Activation, node: Node) -> nn.Module:
    return _FUNCTIONS[layer.function]()


@layer_module.register
def _(layer: layers.LeakyRelu, node: Node) -> nn.Module:
    return nn.LeakyReLU(layer.slope)


@layer_module.register
def _(layer: layers.Clip, node: Node) -> nn.Module:
    return Call(lambda x: x.clamp(layer.low, layer.high))


@layer_module.register
def _(layer: layers.Elementwise, node: Node) -> nn.Module:
    return Call(_OPERATIONS[layer.operation])


@layer_module.register
def _(layer: layers.Softmax, node: Node) -> nn.Module:
    return nn.Softmax(layer.axis)


@layer_module.register
def _(layer: layers.Pool, node: Node) -> nn.Module:
    rank = len(layer.kernel)
    borders = [0] * (2 * rank) if _is_symmetric(layer.padding) else _borders(layer.padding)
    padding = layer.padding[:rank] if _is_symmetric(layer.padding) else (0,) * rank
    if layer.statistic is Statistic.MAX:
        pool, fill = _MAX_POOLS[rank - 1], -torch.inf
        rest: tuple[object, ...] = (layer.dilations, layer.rounds_up)
    elif any(borders) and not layer.counts_padding:
        raise InvalidInputError(f"{node.name}: a mean over padding {layer.padding}")
    else:
        pool, fill = _MEAN_POOLS[rank - 1], 0.0
        rest = (layer.rounds_up, layer.counts_padding)

    def pooled(x: Tensor) -> Tensor:
        y: Tensor = pool(F.pad(x, borders, value=fill), layer.kernel, layer.strides, padding, *rest)
        if any(borders):  # to torch they are image, so that a last window may begin in them
            for axis, windows in enumerate(layer.output_shapes(tuple(x.shape))[0][2:], start=2):
                y = y.narrow(axis, 0, windows)
        return y

    return Call(pooled)


@layer_module.register
def _(layer: layers.GlobalPool, node: Node) -> nn.Module:
    axes = tuple(range(2, len(node.inputs[0].shape)))
    return Call(lambda x: _REDUCTIONS[layer.statistic](x, axes, keepdim=True))


@layer_module.register
def _(layer: layers.Reduce, node: Node) -> nn.Module:
    return Call(lambda x: _REDUCTIONS[layer.statistic](x, layer.axes, keepdim=layer.keeps_axes))


@layer_module.register
def _(layer: moves.Concat, node: Node) -> nn.Module:
    return Call(lambda *parts: torch.cat(parts, layer.axis))


@layer_module.register
def _(layer: moves.Split, node: Node) -> nn.Module:
    return Call(lambda x: tuple(x.split(layer.sizes, layer.axis)))


@layer_module.register
def _(layer: moves.Slice, node: Node) -> nn.Module:
    window = tuple(map(slice, layer.starts, layer.ends, layer.steps))
    return Call(lambda x: x[window])


@layer_module.register
def _(layer: moves.Gather, node: Node) -> nn.Module:
    indices = list(layer.indices)
    return Call(lambda x: x[(slice(None),) * layer.axis + (indices,)])


@layer_module.register
def _(layer: moves.Pad, node: Node) -> nn.Module:
    borders = _borders(layer.padding)
    if layer.mode is moves.PadMode.CONSTANT:
        return Call(lambda x: F.pad(x, borders, value=layer.value))
    mode = {moves.PadMode.REFLECT: "reflect", moves.PadMode.EDGE: "replicate"}[layer.mode]
    inner = borders[: 2 * (len(node.inputs[0].shape) - 2)]  # torch leaves batch and channels out
    return Call(lambda x: F.pad(x, inner, mode))


@layer_module.register
def _(layer: moves.Resize, node: Node) -> nn.Module:
    if layer.interpolation is Interpolation.NEAREST:
        return Call(lambda x: F.interpolate(x, layer.size, mode="nearest"))
    corners = layer.interpolation is Interpolation.LINEAR_CORNERS
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(layer.size)]
    return Call(lambda x: F.interpolate(x, layer.size, mode=mode, align_corners=corners))


@layer_module.register
def _(layer: moves.Reshape, node: Node) -> nn.Module:
    shape = layer.shape
    if shape[0] == node.inputs[0].shape[0]:  # then a batch of any size
        if len(shape) == 2:
            return nn.Flatten()
        return Call(lambda x: x.reshape(x.shape[0], *shape[1:]))
    return Call(lambda x: x.reshape(shape))


@layer_module.register
def _(layer: moves.Transpose, node: Node) -> nn.Module:
    return Call(lambda x: x.permute(layer.permutation))


@layer_module.register
def _(layer: layers.MatMul, node: Node) -> nn.Module:
    return Call(torch.matmul)


def _borders(padding: layers.Shape) -> list[int]:
    """ONNX's padding in the order of F.pad: from the last axis on, begin and end."""
    rank = len(padding) // 2
    return [padding[axis + side] for axis in reversed(range(rank)) for side in (0, rank)]


def _is_symmetric(padding: layers.Shape) -> bool:
    return padding[: len(padding) // 2] == padding[len(padding) // 2 :]
