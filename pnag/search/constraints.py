"""Which choices are open under upper bounds: those whose cheapest completion still fits.

For one additive cost this is exact: every feasible architecture can be generated, and no other.
For several bounds at once each node keeps the completions that no other one undercuts in all
costs, or some of them where they are many. A choice is open if one of them fits; that completion
stays available at the next node, so a path never ends dead and never breaks a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats
from profiler.spaces.base import DEAD, Tokens
from profiler.spaces.decisions import ROOT, DecisionGraph, Ints

Bools = NDArray[np.bool_]

# Sums along a path and a cost function may differ in the last bits.
ROUNDING = 1e-12
TINY = np.finfo(np.float64).tiny
MOST_KEPT = 24  # completions of a node


@dataclass(frozen=True)
class Constraints:
    """n additive costs on one graph, ready to decode under any upper bounds.

    Attributes:
        edges: [N, C, n] what each choice adds.
        completion: [N, C, W, n] cost of a choice and each kept completion after it; nan if none.
            All that are not undercut are kept, unless these are more than `MOST_KEPT`.
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
        kept = low[:, None, :] if len(costs) == 1 else _kept_completions(graph, edges)
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

    def least(self, bounds: Floats, n_first: int) -> float | None:
        """The least that the first sums, `n_first` of one cost, can be bounded by beside the rest
        of [n] bounds; None if these alone cannot be met."""
        kept = self.completion[ROOT].reshape(-1, self.n_bounds)
        fits = (kept[:, n_first:] <= bounds[n_first:] * (1 + ROUNDING)).all(axis=1)
        within = kept[fits, :n_first].max(axis=1)
        return float(within.min()) if len(within) else None

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


def _kept_completions(graph: DecisionGraph, edges: Floats) -> Floats:
    """[N, W, n] completions of every node that no other undercuts; nan where there are fewer."""
    n_nodes, n_choices, n_costs = edges.shape
    kept = np.full((n_nodes, 1, n_costs), np.nan)
    kept[graph.terminal] = 0.0
    for nodes in reversed(graph.layers):
        found = np.full((len(nodes), 0, n_costs), np.nan)
        for choice in range(n_choices):
            total = edges[nodes, choice][:, None, :] + kept[graph.successor[nodes, choice]]
            total[graph.successor[nodes, choice] < 0] = np.nan
            found = _spread(_not_undercut(np.concatenate([found, total], axis=1)))
        missing = found.shape[1] - kept.shape[1]
        if missing > 0:
            kept = np.pad(kept, [(0, 0), (0, missing), (0, 0)], constant_values=np.nan)
        kept[nodes, : found.shape[1]] = found
    return kept


def _not_undercut(points: Floats) -> Floats:
    """[A, w, n] of [A, m, n] those that none of their m undercuts, by rising first cost.

    Of equals one is left; nan where a row has fewer than w.
    """
    cheaper: Bools = np.asarray((points[:, :, None, :] <= points[:, None, :, :]).all(axis=-1))
    earlier = np.tri(points.shape[1], k=-1, dtype=np.bool_).T
    undercut: Bools = np.asarray((cheaper & (~cheaper.transpose(0, 2, 1) | earlier)).any(axis=1))
    points = np.where(undercut[:, :, None], np.nan, points)
    order = np.argsort(points[:, :, 0], axis=1)  # nan last
    n_left = int(np.isfinite(points[:, :, 0]).sum(axis=1).max(initial=0))
    return np.take_along_axis(points, order[:, :n_left, None], axis=1)


def _spread(points: Floats) -> Floats:
    """[A, w, n] at most `MOST_KEPT` of each row's [A, m, n]: the cheapest by each cost, then
    always the one that lies farthest from those taken, in units of the row's ranges."""
    if points.shape[1] <= MOST_KEPT:
        return points
    rows = np.arange(len(points))
    low, high = np.fmin.reduce(points, axis=1), np.fmax.reduce(points, axis=1)
    place = (points - low[:, None]) / np.maximum(high - low, TINY)[:, None]
    distance = np.where(np.isnan(points[:, :, 0]), -1.0, np.inf)  # of each to the nearest taken
    taken = []
    for step in range(MOST_KEPT):
        cost = place[:, :, step] if step < points.shape[2] else -distance
        best = np.where(np.isnan(cost), np.inf, cost).argmin(axis=1)
        taken.append(best)
        apart = np.abs(place - place[rows, best][:, None]).max(axis=-1)
        distance = np.fmin(distance, apart)
    chosen = np.sort(np.stack(taken, axis=1), axis=1)
    return np.take_along_axis(points, chosen[:, :, None], axis=1)
