"""Which choices are open under upper bounds: those whose cheapest completion still fits.

For one additive cost this is exact: every feasible architecture can be generated, and no other.
For several bounds at once a few completions are kept per node, each the cheapest under one
fixed weighting of the costs. A choice is open if one of them fits; that completion stays
available at the next node, so a path never ends dead and never breaks a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats
from profiler.spaces.base import DEAD, Tokens
from profiler.spaces.decisions import ROOT, DecisionGraph, Ints

Bools = NDArray[np.bool_]

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

    graph: DecisionGraph
    edges: Floats
    completion: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, graph: DecisionGraph, costs: Sequence[Floats]) -> Constraints:
        """From [N, C] what each choice adds, one array per bound."""
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

    def dearest(self) -> Tokens:
        """[n, L] the dearest architecture by each cost."""
        graph, rows = self.graph, np.arange(self.n_bounds)
        dearest = _with_edges(graph, self.edges, self.high[:, None, :])[:, :, 0]  # [N, C, n]
        choice = np.nan_to_num(dearest, nan=-np.inf).argmax(axis=1)  # [N, n]
        tokens = np.full((self.n_bounds, graph.n_positions + 1), DEAD, np.int8)
        node = np.full(self.n_bounds, ROOT)
        while (node != graph.terminal).any():
            tokens[rows, graph.position[node]] = choice[node, rows]
            node = graph.following[node, choice[node, rows]]
        return tokens[:, :-1]

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


def _with_edges(graph: DecisionGraph, edges: Floats, after: Floats) -> Floats:
    """[N, C, W, n] edge plus [N, W, n] completions of the node behind it."""
    total = edges[:, :, None, :] + after[graph.successor]
    total[graph.successor < 0] = np.nan  # never within any bound, not even an infinite one
    return total


def _extreme_completions(graph: DecisionGraph, edges: Floats) -> Floats:
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


def _weighted_completions(graph: DecisionGraph, edges: Floats, weights: Floats) -> Floats:
    """[N, W, n] completions of every node, the cheapest under each of [W, n] weightings."""
    kept = np.zeros((len(graph.position), len(weights), edges.shape[2]))
    for nodes in reversed(graph.layers):
        total = edges[nodes][:, :, None, :] + kept[graph.successor[nodes]]
        weighted = np.einsum("acwn,wn->acw", total, weights)
        weighted[graph.successor[nodes] < 0] = np.inf
        best = weighted.argmin(axis=1)  # [nodes, W]
        kept[nodes] = np.take_along_axis(total, best[:, None, :, None], axis=1)[:, 0]
    return kept
