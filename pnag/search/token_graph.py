"""Spaces as token graphs: which choices exist after which, and what each adds to a cost.

A node is a decoding state, an edge a choice. The position of a node is the token it decides;
positions that a path skips are dead. All paths end in one terminal node.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from predictors.base import CostFunction, Floats
from predictors.cost import AdditiveCost
from profiler.errors import InvalidInputError
from profiler.spaces.base import SearchSpace, Tokens
from profiler.spaces.mobilenetv3 import (
    DEPTHS,
    EXPANDS,
    KERNELS,
    N_STAGES,
    SLOTS_PER_STAGE,
    MobileNetV3Space,
)
from profiler.spaces.tabular import TabularSpace

Ints = NDArray[np.int64]
ROOT = 0
FIT_SAMPLES = 4000


class NotAdditiveError(InvalidInputError):
    """The cost function is no sum over the choices of this space."""


class EdgeCosts(Protocol):
    """How a cost function spreads over the edges of one graph."""

    def __call__(self, graph: TokenGraph, cost: CostFunction) -> Floats: ...


@dataclass(frozen=True)
class TokenGraph:
    """N nodes in topological order, the last one terminal; C is the most choices anywhere.

    Attributes:
        position: [N] the position each node decides; L for the terminal node.
        successor: [N, C] the node behind each choice, -1 where there is none.
        n_positions: L.
        spread: gives [N, C] edge costs whose sum along a path is the cost of its architecture.
    """

    position: Ints
    successor: Ints
    n_positions: int
    spread: EdgeCosts

    @property
    def terminal(self) -> int:
        return len(self.position) - 1

    @property
    def n_choices(self) -> int:
        return int(self.successor.shape[1])

    def edge_costs(self, cost: CostFunction) -> Floats:
        """[N, C] what each choice adds to `cost`.

        Raises:
            NotAdditiveError: no such sum exists.
        """
        return self.spread(self, cost)

    @cached_property
    def following(self) -> Ints:
        """[N, C] like `successor`, but the terminal node leads to itself."""
        following = self.successor.copy()
        following[self.terminal] = self.terminal
        return following

    @cached_property
    def layers(self) -> tuple[Ints, ...]:
        """Nodes by position, 0 to L-1."""
        return tuple(np.flatnonzero(self.position == p) for p in range(self.n_positions))

    def walk(self, tokens: Tokens) -> tuple[Ints, Ints]:
        """Nodes and choices [n, T] that [n, L] tokens pass; T is the longest path.

        Rows are left-aligned: after its last live token a row stays in the terminal node.

        Raises:
            InvalidInputError: tokens that are no path of the graph.
        """
        n = len(tokens)
        padded = np.concatenate([tokens, np.zeros((n, 1), np.int8)], axis=1).astype(np.int64)
        node, rows = np.full(n, ROOT, dtype=np.int64), np.arange(n)
        nodes, choices = [], []
        while (node != self.terminal).any():
            choice = padded[rows, self.position[node]]
            nodes.append(node)
            choices.append(choice)
            # -1 as a choice or as a successor both mean that the path does not exist
            after = np.where(choice >= 0, self.successor[node, choice], -1)
            node = np.where(node == self.terminal, node, after)
            if (node < 0).any():
                raise InvalidInputError("tokens are not an architecture of this space")
        if not n:
            return np.empty((0, 0), np.int64), np.empty((0, 0), np.int64)
        return np.stack(nodes, axis=1), np.stack(choices, axis=1)


def token_graph(space: SearchSpace) -> TokenGraph:
    """The graph of a space; one unknown here is a chain: every position is decided, freely.

    Raises:
        InvalidInputError: an unknown space with dead positions.
    """
    if isinstance(space, MobileNetV3Space):
        return _mobilenet_graph(space)
    if isinstance(space, TabularSpace):
        return _trie(space)
    return _chain(space)


# --- MobileNetV3: 37 nodes a stage ------------------------------------------------------


@dataclass(frozen=True)
class _SpreadBlocks:
    """A block's cost sits on its kernel edge, when its expand ratio is known too."""

    slot: Ints  # [N] -1 unless the node decides a kernel
    expand: Ints  # [N] the expand choice before it

    def __call__(self, graph: TokenGraph, cost: CostFunction) -> Floats:
        if not isinstance(cost, AdditiveCost):
            raise NotAdditiveError(f"the {cost.unit} cost is not additive over blocks")
        edges = np.zeros(graph.successor.shape)
        kernels = self.slot >= 0
        edges[kernels] = cost.block[self.slot[kernels], self.expand[kernels]]
        edges[ROOT] += cost.fixed
        return edges


def _mobilenet_graph(space: MobileNetV3Space) -> TokenGraph:
    position: list[int] = []
    successor: list[list[int]] = []
    slots: list[int] = []
    expands: list[int] = []

    def add(at: int, slot: int = -1, expand: int = -1) -> int:
        position.append(at)
        successor.append([-1, -1, -1])
        slots.append(slot)
        expands.append(expand)
        return len(position) - 1

    ends: list[tuple[int, int]] = []  # edges that lead to whatever comes next
    for stage in range(N_STAGES):
        first = stage * (1 + 2 * SLOTS_PER_STAGE)
        depth_node = add(first)
        for node, choice in ends:
            successor[node][choice] = depth_node
        ends = []
        for depth_choice, depth in enumerate(DEPTHS):
            into = [(depth_node, depth_choice)]
            for within in range(depth):
                expand_node = add(first + 1 + 2 * within)
                for node, choice in into:
                    successor[node][choice] = expand_node
                into = []
                for expand_choice in range(len(EXPANDS)):
                    kernel_node = add(
                        first + 2 + 2 * within, stage * SLOTS_PER_STAGE + within, expand_choice
                    )
                    successor[expand_node][expand_choice] = kernel_node
                    into += [(kernel_node, choice) for choice in range(len(KERNELS))]
            ends += into
    terminal = add(len(space.positions))
    for node, choice in ends:
        successor[node][choice] = terminal
    return TokenGraph(
        np.array(position),
        np.array(successor),
        len(space.positions),
        _SpreadBlocks(np.array(slots), np.array(expands)),
    )


# --- Tabular: a trie over the rows ------------------------------------------------------


@dataclass(frozen=True)
class _SpreadRows:
    """A row's cost sits on its last edge, so any function of a row is additive here."""

    rows: Tokens  # [R, L]
    last_node: Ints  # [R]

    def __call__(self, graph: TokenGraph, cost: CostFunction) -> Floats:
        edges = np.zeros(graph.successor.shape)
        edges[self.last_node, self.rows[:, -1]] = cost(self.rows)
        return edges


def _trie(space: TabularSpace) -> TokenGraph:
    """A node for every prefix that some row begins with."""
    rows = space.rows
    n_choices = max(len(position.choices) for position in space.positions)
    prefix = np.zeros(len(rows), dtype=np.int64)  # node of each row's prefix
    first, position = 0, [0]
    edges: list[tuple[Ints, Ints, Ints]] = []
    for at in range(rows.shape[1] - 1):
        key = prefix * n_choices + rows[:, at]
        distinct, inverse = np.unique(key, return_inverse=True)
        first = len(position)
        edges.append(
            (distinct // n_choices, distinct % n_choices, first + np.arange(len(distinct)))
        )
        position += [at + 1] * len(distinct)
        prefix = first + inverse.reshape(-1)
    terminal = len(position)
    successor = np.full((terminal + 1, n_choices), -1, dtype=np.int64)
    for source, choice, target in edges:
        successor[source, choice] = target
    successor[prefix, rows[:, -1]] = terminal
    return TokenGraph(
        np.array([*position, rows.shape[1]]),
        successor,
        rows.shape[1],
        _SpreadRows(rows, prefix),
    )


# --- Any other space: a chain -----------------------------------------------------------


@dataclass(frozen=True)
class _SpreadPositions:
    """The sum over positions nearest to a cost: itself if it is such a sum, else its best fit.

    Decoding under a fit aims well, and `generate` checks each architecture by the cost itself.
    """

    tokens: Tokens  # [n, L]

    def __call__(self, graph: TokenGraph, cost: CostFunction) -> Floats:
        n, n_positions = self.tokens.shape
        one_hot = np.eye(graph.n_choices)[self.tokens].reshape(n, -1)
        design = np.concatenate([np.ones((n, 1)), one_hot], axis=1)
        solution = np.linalg.lstsq(design, cost(self.tokens), rcond=None)[0]
        edges = np.zeros(graph.successor.shape)
        edges[:-1] = solution[1:].reshape(n_positions, -1)
        edges[ROOT] += solution[0]
        return edges


def _chain(space: SearchSpace) -> TokenGraph:
    tokens = space.sample(FIT_SAMPLES, np.random.default_rng(0))
    if (tokens < 0).any():
        raise InvalidInputError(
            f"{space.name} has dead positions: list its architectures as a tabular space"
        )
    n_positions = len(space.positions)
    n_choices = [len(position.choices) for position in space.positions]
    successor = np.full((n_positions + 1, max(n_choices)), -1, dtype=np.int64)
    for at, n in enumerate(n_choices):
        successor[at, :n] = at + 1
    return TokenGraph(np.arange(n_positions + 1), successor, n_positions, _SpreadPositions(tokens))
