"""Constrained decoding: a choice is open only while its cheapest completion fits the bounds.

For one additive cost this is exact: every feasible architecture can be generated, and no other.
For several bounds at once a few completions are kept per node, each the cheapest under one
fixed weighting of the costs. A choice is open if one of them fits; that completion stays
available at the next node, so a path never ends dead and never breaks a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pnag.search.token_graph import ROOT, Ints, TokenGraph
from predictors.base import Floats
from profiler.spaces.mobilenetv3 import DEAD, Tokens

Bools = NDArray[np.bool_]
Floats32 = NDArray[np.float32]

# Sums along a path and a cost function may differ in the last bits.
ROUNDING = 1e-12
TINY = np.finfo(np.float64).tiny
_WEIGHT_STEPS = {1: 1, 2: 16, 3: 8}  # resolution of the weightings, by number of bounds


@dataclass(frozen=True)
class Constraints:
    """n additive costs on one graph, ready to decode under any upper bounds.

    Attributes:
        edges: [N, C, n] what each choice adds.
        completion: [N, C, W, n] cost of a choice and each kept completion after it; nan if none.
        low: [N, n] cheapest completion of each node. high: [N, n] the dearest.
    """

    graph: TokenGraph
    edges: Floats
    completion: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, graph: TokenGraph, costs: Sequence[Floats]) -> Constraints:
        """From [N, C] edge costs (`TokenGraph.edge_costs`), one array per bound."""
        edges = np.stack(costs, axis=-1)
        low = _extreme_completions(graph, edges)
        high = -_extreme_completions(graph, -edges)
        if len(costs) == 1:
            kept = low[:, None, :]
        else:
            scale = 1 / np.maximum(high[ROOT] - low[ROOT], TINY)
            kept = _weighted_completions(graph, edges, _weightings(len(costs)) * scale)
        return cls(graph, edges, _with_edges(graph, edges, kept), low, high)

    @property
    def n_bounds(self) -> int:
        return int(self.edges.shape[2])

    @property
    def reachable(self) -> Floats:
        """[n, 2] cheapest and dearest architecture by each cost."""
        return np.stack([self.low[ROOT], self.high[ROOT]], axis=1)

    @property
    def lowest_bound(self) -> Floats:
        """[] the least that can be set on all costs at once."""
        return np.asarray(np.nanmin(self.completion[ROOT].max(axis=-1)))

    def path_costs(self, tokens: Tokens) -> Floats:
        """[n, n_bounds] costs of [n, L] tokens as decoding adds them up."""
        nodes, choices = self.graph.walk(tokens)
        costs: Floats = self.edges[nodes, choices].sum(axis=1)
        return costs

    def open_choices(self, nodes: Ints, slack: Floats) -> Bools:
        """[..., C] choices that can be completed within [..., n] remaining slack."""
        fits = (self.completion[nodes] <= slack[..., None, None, :]).all(axis=-1)
        return np.asarray(fits.any(axis=-1))

    def tightness(self, nodes: Ints, slack: Floats) -> Floats:
        """[...] in [0, 1]: share of what the rest may still cost that fits; 1 is no limit.

        The tightest of several bounds counts.
        """
        low, high = self.low[nodes], self.high[nodes]
        share = (slack - low) / np.maximum(high - low, ROUNDING * self.high[ROOT] + TINY)
        tightest: Floats = np.minimum(np.maximum(share.min(axis=-1), 0.0), 1.0)
        return tightest


def _with_edges(graph: TokenGraph, edges: Floats, after: Floats) -> Floats:
    """[N, C, W, n] edge plus [N, W, n] completions of the node behind it."""
    total = edges[:, :, None, :] + after[graph.successor]
    total[graph.successor < 0] = np.nan  # never within any bound, not even an infinite one
    return total


def _extreme_completions(graph: TokenGraph, edges: Floats) -> Floats:
    """[N, n] cheapest completion of every node, by each cost alone."""
    low = np.zeros((len(graph.position), edges.shape[2]))
    for nodes in reversed(graph.layers):
        after = np.where(graph.successor[nodes, :, None] >= 0, low[graph.successor[nodes]], np.inf)
        low[nodes] = (edges[nodes] + after).min(axis=1)
    return low


def _weightings(n_bounds: int) -> Floats:
    """[W, n] non-negative weights that sum to 1: a lattice over the simplex."""
    steps = _WEIGHT_STEPS.get(n_bounds, 4)
    lattice = [w for w in product(range(steps + 1), repeat=n_bounds) if sum(w) == steps]
    # a trace of every cost breaks ties between completions that differ in the others only
    return (np.array(lattice) + 1e-6) / steps


def _weighted_completions(graph: TokenGraph, edges: Floats, weights: Floats) -> Floats:
    """[N, W, n] completions of every node, the cheapest under each of [W, n] weightings."""
    kept = np.zeros((len(graph.position), len(weights), edges.shape[2]))
    for nodes in reversed(graph.layers):
        total = edges[nodes][:, :, None, :] + kept[graph.successor[nodes]]
        weighted = np.einsum("acwn,wn->acw", total, weights)
        weighted[graph.successor[nodes] < 0] = np.inf
        best = weighted.argmin(axis=1)  # [nodes, W]
        kept[nodes] = np.take_along_axis(total, best[:, None, :, None], axis=1)[:, 0]
    return kept


@dataclass(frozen=True)
class Trajectory:
    """Given architectures as decisions under bounds; T is the longest path.

    Attributes:
        positions, choices: [n, T]; finished rows hold position L.
        opened: [n, T, C] choices that were open. tightness: [n, T].
    """

    positions: Ints
    choices: Ints
    opened: Bools
    tightness: Floats

    @property
    def live(self) -> Bools:
        """[n, T] decisions that were taken at all."""
        return np.asarray(self.opened.any(axis=-1))


def replay(constraints: Constraints, tokens: Tokens, bounds: Floats) -> Trajectory:
    """The decisions that give [n, L] tokens under [n, n_bounds] bounds, or [n, 1] for all."""
    nodes, choices = constraints.graph.walk(tokens)
    spent = np.cumsum(constraints.edges[nodes, choices], axis=1)
    spent = np.concatenate([np.zeros_like(spent[:, :1]), spent[:, :-1]], axis=1)
    slack = bounds[:, None, :] * (1 + ROUNDING) - spent
    return Trajectory(
        constraints.graph.position[nodes],
        choices,
        constraints.open_choices(nodes, slack),
        constraints.tightness(nodes, slack),
    )


def producible(constraints: Constraints, tokens: Tokens, bounds: Floats) -> Bools:
    """[n] whether decoding under the bounds can make [n, L] tokens.

    Under one bound it can if they are within it; under several a few that are may be closed.
    """
    within = np.asarray((constraints.path_costs(tokens) <= bounds).all(axis=1))
    if constraints.n_bounds == 1 or not len(tokens):
        return within
    trajectory = replay(constraints, tokens, bounds)
    opened = np.take_along_axis(trajectory.opened, trajectory.choices[:, :, None], axis=2)
    finished = trajectory.positions == constraints.graph.n_positions
    return np.asarray(within & (opened[:, :, 0] | finished).all(axis=1))


class Policy(Protocol):
    """Prefers choices during one decoding pass; may carry state from step to step."""

    def logits(self, positions: Ints, previous: Ints, tightness: Floats) -> Floats32:
        """[n, C] preferences of n rows for the choices at their positions.

        Args:
            previous: [n] position · C + choice of the last decision; L · C before the first.
                Finished rows are at position L, and what they are given does not matter.
        """
        ...


def decode(
    constraints: Constraints,
    bounds: Floats,
    policy: Policy,
    rng: np.random.Generator | None,
) -> Tokens:
    """[n, L] architectures drawn from softmax(logits), none beyond [n, n_bounds] bounds.

    Bounds of [n, 1] hold for all costs. Without `rng` the most preferred choice is taken. Every
    row must have a feasible completion.
    """
    graph = constraints.graph
    n, start = len(bounds), graph.n_positions * graph.n_choices
    rows = np.arange(n)
    tokens = np.full((n, graph.n_positions + 1), DEAD, dtype=np.int8)  # last column: finished
    node = np.full(n, ROOT, dtype=np.int64)
    previous = np.full(n, start, dtype=np.int64)
    slack = bounds * (1 + ROUNDING)
    while (node != graph.terminal).any():
        position = graph.position[node]
        logits = policy.logits(position, previous, constraints.tightness(node, slack))
        if rng is not None:
            uniform = rng.random(logits.shape, dtype=np.float32)
            logits = logits - np.log(-np.log(np.maximum(uniform, 1e-12)))  # Gumbel noise
        opened = constraints.open_choices(node, slack)
        choice = np.where(opened, logits, -np.inf).argmax(axis=1)
        tokens[rows, position] = choice
        slack = slack - constraints.edges[node, choice]
        previous = np.minimum(position * graph.n_choices + choice, start)
        node = graph.following[node, choice]
    return tokens[:, :-1]


@dataclass(frozen=True)
class UniformPolicy:
    """Every open choice is equally likely."""

    n_choices: int

    def logits(self, positions: Ints, previous: Ints, tightness: Floats) -> Floats32:
        return np.zeros((len(positions), self.n_choices), np.float32)


@dataclass(frozen=True)
class MutationPolicy:
    """Repeats its parents' tokens, except where `redraw` says so; those are drawn uniformly.

    Where a parent's token is closed or its position was dead, the draw is uniform too: the
    child is valid and within its bounds whatever changed before.
    """

    parents: Tokens  # [n, L]
    redraw: Bools  # [n, L]
    n_choices: int

    def logits(self, positions: Ints, previous: Ints, tightness: Floats) -> Floats32:
        rows = np.arange(len(positions))
        at = np.minimum(positions, self.parents.shape[1] - 1)
        kept = np.where(self.redraw[rows, at], DEAD, self.parents[rows, at])
        chosen = kept[:, None] == np.arange(self.n_choices)
        return np.where(chosen, np.float32(1e6), np.float32(0))


@dataclass
class LstmPolicy:
    """The generator, in plain numpy: torch's overhead per call would dominate such small steps.

    Weights are already multiplied into gate space (order i, f, g, o), sigmoid gates halved, so
    that one tanh per step gives all gates: sigmoid(x) = (1 + tanh(x / 2)) / 2. H hidden units.
    """

    previous: Floats32  # [L · C + 1, 4H]; last: start
    position: Floats32  # [L + 1, 4H]; last: finished
    budget: Floats32  # [K, 4H]
    tightness: Floats32  # [4H]
    recurrent: Floats32  # [H, 4H]
    head: Floats32  # [L + 1, H, C]
    head_bias: Floats32  # [L + 1, C]

    def start(self, budget_weights: Floats32, *, temperature: float = 1.0) -> _LstmDecoding:
        """A decoding pass for [n, K] interpolation weights of n budgets."""
        state = np.zeros((len(budget_weights), len(self.recurrent)), np.float32)
        return _LstmDecoding(self, budget_weights @ self.budget, 1 / temperature, state, state)


@dataclass
class _LstmDecoding:
    weights: LstmPolicy
    budget_gates: Floats32  # [n, 4H]
    sharpness: float
    hidden: Floats32  # [n, H]
    cell: Floats32  # [n, H]

    def logits(self, positions: Ints, previous: Ints, tightness: Floats) -> Floats32:
        weights = self.weights
        gates = self.hidden @ weights.recurrent
        gates += weights.previous[previous]
        gates += weights.position[positions]
        gates += self.budget_gates
        gates += tightness.astype(np.float32)[:, None] * weights.tightness
        np.tanh(gates, out=gates)
        h = self.hidden.shape[1]
        i, f, g, o = gates[:, :h], gates[:, h : 2 * h], gates[:, 2 * h : 3 * h], gates[:, 3 * h :]
        self.cell = (0.5 * f + 0.5) * self.cell + (0.5 * i + 0.5) * g
        self.hidden = (0.5 * o + 0.5) * np.tanh(self.cell)
        logits = (self.hidden[:, None, :] @ weights.head[positions])[:, 0]
        logits += weights.head_bias[positions]
        return logits * np.float32(self.sharpness)
