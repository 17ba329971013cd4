"""Spaces as decision graphs: which choices exist after which.

A node is a state of deciding, an edge a choice. The position of a node is the token it decides;
positions that a path skips are dead. All paths end in one terminal node.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from profiler.errors import InvalidInputError
from profiler.graph.op import Op
from profiler.spaces.base import DEAD, SearchSpace, TokenPosition, Tokens
from profiler.spaces.networks import NetworkSpace

Ints = NDArray[np.int64]
ROOT = 0
FORGOTTEN = -2
SAMPLES = 4000  # that must agree with the positions' conditions

State = tuple[int, ...]  # the choice at every earlier position, DEAD, or FORGOTTEN
Edge = tuple[int, int]  # node and choice
Sums = dict[tuple[int, ...], float]  # by choices


@dataclass(frozen=True)
class DecisionGraph:
    """N nodes in topological order, the last one terminal; C is the most choices anywhere.

    Attributes:
        position: [N] the position each node decides; L for the terminal node.
        successor: [N, C] the node behind each choice, -1 where there is none.
        remembered: [N, L] the choice at each earlier position on every way to the node; DEAD if
            it is skipped, FORGOTTEN where ways of other choices meet. Later positions hold DEAD.
        joint: positions that nodes remember together, so that a cost may weigh their choices.
    """

    position: Ints
    successor: Ints
    remembered: Tokens
    joint: tuple[tuple[int, ...], ...]

    @property
    def n_positions(self) -> int:
        return int(self.remembered.shape[1])

    @property
    def terminal(self) -> int:
        return len(self.position) - 1

    @property
    def n_choices(self) -> int:
        return int(self.successor.shape[1])

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

    @property
    def is_tree(self) -> bool:
        """Whether every node remembers all: then the last choice knows the architecture."""
        return not (self.remembered[: self.terminal] == FORGOTTEN).any()

    @cached_property
    def n_paths(self) -> int:
        """How many architectures there are."""
        paths = [0] * self.terminal + [1]
        for node in reversed(range(self.terminal)):
            paths[node] = sum(paths[after] for after in self.successor[node].tolist() if after >= 0)
        return paths[ROOT]

    def endings(self) -> tuple[Ints, Ints, Tokens]:
        """Nodes and choices [m] that end a path, and in a tree the path's tokens [m, L]."""
        nodes, choices = np.nonzero(self.successor == self.terminal)
        tokens = self.remembered[nodes]
        tokens[np.arange(len(nodes)), self.position[nodes]] = choices
        return nodes, choices, tokens

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

    def without_dead(self, genes: Tokens) -> Tokens:
        """[n, L] tokens of genes that hold a choice at every position: those not passed die."""
        nodes, choices = self.walk(genes)
        tokens = np.full((len(genes), self.n_positions + 1), DEAD, np.int8)  # last column: finished
        np.put_along_axis(tokens, self.position[nodes], choices.astype(np.int8), axis=1)
        return tokens[:, :-1]


@runtime_checkable
class Deciding(Protocol):
    """A space that brings a graph of its own, since conditions cannot say what it contains."""

    @property
    def decisions(self) -> DecisionGraph: ...


def decision_graph(space: SearchSpace) -> DecisionGraph:
    """The graph of a space: its own, or what follows from its positions and their conditions.

    Raises:
        InvalidInputError: the space samples what its positions do not allow.
    """
    if isinstance(space, Deciding):
        return space.decisions
    if isinstance(space, NetworkSpace):
        joint = tuple(part.positions for part in space.segments() if part.positions)
    else:
        joint = tuple((at,) for at in range(len(space.positions)))
    graph = conditional_graph(space.positions, joint)
    tokens = space.sample(SAMPLES, np.random.default_rng(0))
    try:
        agree = (graph.without_dead(tokens) == tokens).all()
    except InvalidInputError:
        agree = False
    if not agree:
        raise InvalidInputError(
            f"{space.name} has dead positions that no `active_if` of its positions tells: say "
            "when they are active, or list its architectures as a tabular space"
        )
    return graph


def amount_range(space: NetworkSpace, amount: Callable[[Op], float]) -> tuple[float, float]:
    """The least and the most of an amount that the ops of a network have together."""
    graph, fixed = decision_graph(space), 0.0
    ending: defaultdict[int, list[tuple[list[int], Sums]]] = defaultdict(list)
    for segment in space.segments():
        if segment.positions:
            *before, last = segment.positions
            ending[last].append((before, segment.sums(amount)))
        else:
            fixed += sum(segment.sums(amount).values())
    low, high = [0.0] * len(graph.position), [0.0] * len(graph.position)
    for node in reversed(range(graph.terminal)):
        known = graph.remembered[node].tolist()
        ends = []
        for choice, after in enumerate(graph.successor[node].tolist()):
            if after >= 0:
                parts = ending[int(graph.position[node])]
                added = sum(
                    sums.get((*(known[at] for at in before), choice), 0) for before, sums in parts
                )
                ends += [(added + low[after], added + high[after])]
        low[node], high[node] = min(end[0] for end in ends), max(end[1] for end in ends)
    return fixed + low[ROOT], fixed + high[ROOT]


def conditional_graph(
    positions: Sequence[TokenPosition], joint: tuple[tuple[int, ...], ...]
) -> DecisionGraph:
    """A node for each position and whatever of earlier choices still matters there.

    A choice matters as long as a later position depends on it or is weighed with it (`joint`).
    """
    until = _remembered_until(positions, joint)
    n_choices = max(len(position.choices) for position in positions)
    node_positions: list[int] = []
    successor: list[list[int]] = []
    remembered: list[State] = []
    ways: dict[State, list[Edge]] = {(): []}  # edges that lead to each state
    for at, position in enumerate(positions):
        after: dict[State, list[Edge]] = {}
        for state, edges in ways.items():
            if position.active_if and not _holds(position, state):
                after.setdefault(_forget((*state, DEAD), until), []).extend(edges)
                continue
            node = len(node_positions)
            node_positions.append(at)
            successor.append([-1] * n_choices)
            remembered.append(state)
            for source, choice in edges:
                successor[source][choice] = node
            for choice in range(len(position.choices)):
                after.setdefault(_forget((*state, choice), until), []).append((node, choice))
        ways = after
    terminal = len(node_positions)
    for edges in ways.values():
        for source, choice in edges:
            successor[source][choice] = terminal
    table = np.full((terminal + 1, len(positions)), DEAD, np.int8)
    for node, state in enumerate(remembered):
        table[node, : len(state)] = state
    return DecisionGraph(
        np.array([*node_positions, len(positions)]),
        np.array([*successor, [-1] * n_choices]),
        table,
        joint,
    )


def trie(rows: Tokens, n_choices: int) -> DecisionGraph:
    """A node for every prefix that some of [R, L] rows begins with."""
    prefix = np.zeros(len(rows), dtype=np.int64)  # node of each row's prefix
    position, remembered = [0], [np.full((1, rows.shape[1]), DEAD, np.int8)]
    edges: list[tuple[Ints, Ints, Ints]] = []
    for at in range(rows.shape[1] - 1):
        key = prefix * n_choices + rows[:, at]
        distinct, one, inverse = np.unique(key, return_index=True, return_inverse=True)
        first = len(position)
        edges.append(
            (distinct // n_choices, distinct % n_choices, first + np.arange(len(distinct)))
        )
        position += [at + 1] * len(distinct)
        prefixes = rows[one].copy()
        prefixes[:, at + 1 :] = DEAD
        remembered.append(prefixes)
        prefix = first + inverse.reshape(-1)
    terminal = len(position)
    successor = np.full((terminal + 1, n_choices), -1, dtype=np.int64)
    for source, choice, target in edges:
        successor[source, choice] = target
    successor[prefix, rows[:, -1]] = terminal
    remembered.append(remembered[0])
    return DecisionGraph(
        np.array([*position, rows.shape[1]]), successor, np.concatenate(remembered), ()
    )


def _remembered_until(
    positions: Sequence[TokenPosition], joint: Sequence[tuple[int, ...]]
) -> list[int]:
    """By position, the last one that depends on its choice."""
    until = list(range(len(positions)))
    for at, position in enumerate(positions):
        if position.active_if:
            until[position.active_if.position] = at
    for group in joint:
        for at in group:
            until[at] = max(until[at], group[-1])
    return until


def _holds(position: TokenPosition, state: State) -> bool:
    condition = position.active_if
    return condition is None or state[condition.position] in condition.choices


def _forget(state: State, until: Sequence[int]) -> State:
    return tuple(token if until[at] >= len(state) else FORGOTTEN for at, token in enumerate(state))
