import itertools

import numpy as np
import pytest

from profiler.errors import InvalidInputError
from profiler.spaces.base import DEAD, Condition, TokenPosition
from profiler.spaces.decisions import FORGOTTEN, conditional_graph, decision_graph, trie
from profiler.spaces.mobilenetv3 import MobileNetV3Space

DEEP = (
    TokenPosition("depth", (1, 2)),
    TokenPosition("a", (3, 5, 7)),
    TokenPosition("b", (3, 5), Condition(0, (1,))),
    TokenPosition("after", (0, 1)),
)


def paths(graph):
    """Every path of the graph as tokens, by following each edge."""
    found, open_ends = [], [(0, (DEAD,) * graph.n_positions)]
    while open_ends:
        node, tokens = open_ends.pop()
        if node == graph.terminal:
            found.append(tokens)
            continue
        at = graph.position[node]
        for choice, after in enumerate(graph.successor[node]):
            if after >= 0:
                open_ends.append((after, (*tokens[:at], choice, *tokens[at + 1 :])))
    return found


def test_the_paths_are_the_architectures_that_the_conditions_allow():
    graph = conditional_graph(DEEP, ((0,), (1,), (2,), (3,)))
    shallow = {(0, a, DEAD, after) for a, after in itertools.product(range(3), range(2))}
    deep = {(1, a, b, c) for a, b, c in itertools.product(range(3), range(2), range(2))}
    found = paths(graph)
    assert len(found) == len(set(found)) == 18
    assert set(found) == shallow | deep


def test_nodes_remember_what_still_matters_and_no_more():
    apart = conditional_graph(DEEP, ((0,), (1,), (2,), (3,)))
    assert len(apart.position) == 1 + 2 + 1 + 1 + 1  # a after each depth, b, after, terminal
    assert not apart.is_tree
    together = conditional_graph(DEEP, ((1, 3),))
    (after,) = together.layers[3:]
    assert together.remembered[after][:, 1].tolist() == [0, 1, 2]
    assert (together.remembered[after][:, [0, 2]] != DEAD).any()
    assert (together.remembered[after][:, 0] == FORGOTTEN).all()
    assert set(paths(together)) == set(paths(apart))


def test_mobilenet_has_37_nodes_a_stage():
    space = MobileNetV3Space()
    graph = decision_graph(space)
    assert len(graph.position) == 5 * 37 + 1
    tokens = space.sample(500, np.random.default_rng(0))
    assert (graph.without_dead(np.where(tokens == DEAD, 0, tokens)) == tokens).all()


def test_a_trie_is_a_tree_of_its_rows():
    rows = np.array([[0, 1, 2], [0, 1, 0], [2, 0, 0], [0, 2, 2]], np.int8)
    graph = trie(rows, 3)
    assert graph.is_tree
    assert {tuple(row) for row in rows.tolist()} == set(paths(graph))
    nodes, choices, tokens = graph.endings()
    assert (graph.successor[nodes, choices] == graph.terminal).all()
    assert {tuple(row) for row in tokens.tolist()} == set(paths(graph))


def test_sampling_that_contradicts_the_positions_is_refused():
    class Dying:
        name = "dying"
        positions = (TokenPosition("a", (1, 2)), TokenPosition("b", (1, 2)))

        def sample(self, n, rng):
            return np.stack([rng.integers(0, 2, n), np.full(n, DEAD)], axis=1).astype(np.int8)

        def parse(self, text):
            raise NotImplementedError

        format = parse

    with pytest.raises(InvalidInputError, match="active_if"):
        decision_graph(Dying())
