"""Chains of random layers: seeded, within their bounds, of every kind of link."""

from collections import Counter
from itertools import islice
from math import prod

from profiler.graph.layers import BatchNorm, Convolution, Pool
from profiler.graph.moves import Concat, Split, Transpose
from profiler.spaces.chains import MAX_ELEMENTS, MAX_MADDS, MAX_PARAMS, chains


def test_more_chains_of_a_seed_begin_with_the_fewer():
    few, many = (list(islice(chains(3), n)) for n in (2, 4))
    assert many[:2] == few
    assert [graph for _, graph in islice(chains(4), 2)] != [graph for _, graph in few]


def test_chains_are_as_long_and_as_small_as_they_say():
    for _, graph in islice(chains(0), 8):
        assert len(graph.nodes) > 24
        assert graph.outputs[0].shape == (1, 1000)
        assert graph.madds <= MAX_MADDS
        assert graph.params <= MAX_PARAMS
        assert all(prod(node.output.shape) <= MAX_ELEMENTS for node in graph.nodes)


def test_a_few_chains_hold_layers_of_every_kind():
    met = Counter(type(node.layer) for _, graph in islice(chains(1), 8) for node in graph.nodes)
    assert {BatchNorm, Concat, Convolution, Pool, Split, Transpose} <= met.keys()
    convolutions = [
        (node.layer.groups, node.inputs[0].shape[1])
        for _, graph in islice(chains(1), 8)
        for node in graph.nodes
        if isinstance(node.layer, Convolution)
    ]
    groups = {(groups > 1) + (groups == channels) for groups, channels in convolutions}
    assert groups == {0, 1, 2}  # none, some, depthwise


def test_a_batch_multiplies_the_work():
    (_, one), (_, four) = next(chains(0)), next(chains(0, 4))
    assert four.madds == 4 * one.madds
    assert four.params == one.params
