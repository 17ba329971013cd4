"""Counts against closed forms and torch's own; folding and chaining keep what is computed."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from profiler.errors import InvalidInputError
from profiler.graph import layers, moves, to_torch
from profiler.graph.folding import fold, fold_weights
from profiler.graph.graph import GraphBuilder, chain
from profiler.graph.layers import Activation, BatchNorm, Function, Linear, square_convolution
from profiler.graph.to_torch import GraphModule, randomise_, weights_of

RELU = Activation(Function.RELU)
ADD = layers.Elementwise(layers.Operation.ADD)


def residual_block(channels=8, size=6, batch=2):
    builder = GraphBuilder()
    x = builder.input("input", (batch, channels, size, size))
    y = builder.add("conv", square_convolution(channels, 3), x)
    y = builder.add("bn", BatchNorm(), y)
    y = builder.add("relu", RELU, y)
    y = builder.add("point", square_convolution(channels, bias=True), y)
    return builder.graph(builder.add("add", ADD, x, y))


def run(module, *arrays):
    with torch.no_grad():
        return module(*map(torch.from_numpy, arrays)).numpy()


def image(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_counts_of_a_residual_block():
    graph = residual_block()
    pixels, tensor = 2 * 36, 4 * 2 * 36 * 8
    assert graph.madds == pixels * (9 * 8 * 8 + 8 * 8)
    assert graph.params == 9 * 64 + 2 * 8 + 64 + 8
    # conv reads and writes, BatchNorm and ReLU run with it, point as conv, add reads two
    weights = 4 * (9 * 64 + 4 * 8 + 64 + 8)
    assert graph.bytes_moved == weights + (2 + 2 + 3) * tensor
    assert graph.peak_activation_bytes == 3 * tensor  # the input waits for the add


def test_a_reshaped_tensor_moves_nothing():
    builder = GraphBuilder()
    x = builder.input("input", (1, 8, 1, 1))
    flat = builder.add("flat", moves.Reshape((1, 8)), x)
    graph = builder.graph(builder.add("fc", Linear(3), flat))
    assert graph.bytes_moved == 4 * (8 + 3 + 8 * 3 + 3)


def test_a_pointwise_layer_moves_bytes_where_its_input_has_other_readers():
    builder = GraphBuilder()
    x = builder.input("input", (1, 4))
    y = builder.add("fc", Linear(4, bias=False), x)
    z = builder.add("relu", RELU, y)
    graph = builder.graph(builder.add("add", ADD, y, z))
    assert graph.bytes_moved == 4 * (16 + 8 + 8 + 12)


def test_memory_is_freed_after_the_last_reading():
    builder = GraphBuilder()
    x = builder.input("input", (1, 100))
    y = builder.add("a", Linear(10), x)
    for name in "bcd":
        y = builder.add(name, Linear(10), y)
    assert builder.graph(y).peak_activation_bytes == 4 * 110


LAYERS = [
    (layers.Convolution(12, (3, 5), (2, 1), (1, 2, 0, 2), (1, 2), 3, True), (2, 6, 9, 11)),
    (square_convolution(8, 5, 2, groups=8), (1, 8, 13, 7)),
    (layers.TransposedConvolution(6, (3, 2), (2, 2), (1, 0, 1, 0), (1, 1), (1, 0)), (2, 4, 5, 5)),
    (layers.TransposedConvolution(6, (3, 3), (1, 1), (1,) * 4, (1, 1), (0, 0), 2), (1, 4, 5, 5)),
    (Linear(9), (3, 4, 7)),
    (layers.Convolution(5, (3,), (2,), (1, 1), (1,)), (2, 4, 9)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
def test_torch_counts_the_same_madds_and_parameters(layer, shape):
    builder = GraphBuilder()
    x = builder.input("input", shape)
    graph = builder.graph(builder.add("layer", layer, x))
    module = GraphModule(graph)
    with FlopCounterMode(display=False) as counter:
        run(module, image(shape))
    assert counter.get_total_flops() == 2 * graph.madds
    assert sum(p.numel() for p in module.parameters()) == graph.params


def test_a_product_of_matrices():
    builder = GraphBuilder()
    a, b = builder.input("a", (2, 3, 4, 5)), builder.input("b", (3, 5, 6))
    graph = builder.graph(builder.add("product", layers.MatMul(), a, b))
    assert graph.outputs[0].shape == (2, 3, 4, 6)
    assert (graph.madds, graph.params) == (2 * 3 * 4 * 5 * 6, 0)


def test_folding_keeps_what_is_computed():
    graph = residual_block()
    module = randomise_(GraphModule(graph), seed=2)
    folded = fold(graph)
    assert [node.name for node in folded.nodes] == ["conv", "relu", "point", "add"]
    assert fold(folded) == folded
    weights = fold_weights(graph, weights_of(module, graph))
    assert {name: w.shape for name, w in weights.items()} == folded.weight_shapes
    other = to_torch.folded(module)
    x = image(graph.inputs[0].shape)
    np.testing.assert_allclose(run(other, x), run(module, x), rtol=1e-5, atol=1e-5)


def test_a_convolution_that_something_else_reads_keeps_its_norm():
    builder = GraphBuilder()
    x = builder.input("input", (1, 4, 3, 3))
    y = builder.add("conv", square_convolution(4), x)
    graph = builder.graph(builder.add("add", ADD, y, builder.add("bn", BatchNorm(), y)))
    assert fold(graph) == graph


def test_graphs_one_after_the_other_compute_what_they_do_in_turn():
    blocks = [("first", residual_block()), ("second", residual_block())]
    graph = chain(blocks)
    assert graph.madds == 2 * residual_block().madds
    module = randomise_(GraphModule(graph), seed=4)
    x = image(graph.inputs[0].shape)
    expected = x
    for name, block in blocks:
        part = GraphModule(block)
        part.load_state_dict(module.get_submodule(name).state_dict())
        expected = run(part.eval(), expected)
    np.testing.assert_allclose(run(module, x), expected, rtol=1e-6)


def test_what_does_not_fit_is_named():
    with pytest.raises(InvalidInputError, match=r"b takes \(2, 4, 6, 6\), gets \(2, 8, 6, 6\)"):
        chain([("a", residual_block()), ("b", residual_block(4))])
    builder = GraphBuilder()
    x = builder.input("input", (1, 6, 4, 4))
    for layer, reason in [
        (square_convolution(8, groups=4), "a convolution of kernel"),
        (layers.Convolution(8, (5, 5), (1, 1), (0,) * 4, (1, 1)), "a window of"),
        (moves.Reshape((1, 95)), "in shape"),
        (moves.Split(1, (2, 3)), "split into"),
    ]:
        with pytest.raises(InvalidInputError, match=f"^bad: .*{reason}"):
            builder.add("bad", layer, x)
    y = builder.add("half", moves.Split(1, (3, 3)), x)
    for layer in (ADD, moves.Concat(2), layers.MatMul()):
        with pytest.raises(InvalidInputError, match=r"^bad: "):
            builder.add("bad", layer, x, y)
    assert [node.name for node in builder.graph(y).nodes] == ["half"]


def test_a_norm_before_its_convolution_stays_when_the_rest_is_folded():
    builder = GraphBuilder()
    x = builder.input("input", (2, 4, 5, 5))
    y = builder.add("first", square_convolution(4, 3), builder.add("before", BatchNorm(), x))
    graph = builder.graph(builder.add("after", BatchNorm(), y))
    module = GraphModule(graph)
    randomise_(module, seed=5)
    other = to_torch.folded(module)
    assert [name for name, _ in other.named_children()] == ["before", "first"]
    image_ = image(graph.inputs[0].shape)
    np.testing.assert_allclose(run(other, image_), run(module, image_), rtol=1e-5, atol=1e-5)
