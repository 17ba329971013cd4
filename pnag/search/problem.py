"""What is searched: a space, the cost under a budget, and the accuracy to reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pnag.search.constraints import Constraints
from pnag.search.decoding import decode
from pnag.search.policies import UniformPolicy
from predictors.base import AccuracyModel, CostFunction, Floats
from predictors.cost import AdditiveCost, LongestCost, fit_additive
from profiler.spaces.base import SearchSpace, Tokens
from profiler.spaces.decisions import DecisionGraph, decision_graph

FIT_SAMPLES = 4000


@dataclass(frozen=True)
class Problem:
    """One search: accuracy against one cost over one space."""

    space: SearchSpace
    cost: CostFunction
    accuracy: AccuracyModel

    @cached_property
    def graph(self) -> DecisionGraph:
        return decision_graph(self.space)

    @cached_property
    def constraints(self) -> Constraints:
        """The budget alone: one bound, or on a queued device the same one on both ends.

        Exact for an additive cost and the longest of several, else by the best additive fit.
        """
        return Constraints.of(self.graph, self._edge_costs(self.cost))

    def constraints_with(self, others: Sequence[CostFunction]) -> Constraints:
        """Bounds on the cost and on others beside it."""
        if not others:
            return self.constraints
        costs = [self.cost, *others]
        return Constraints.of(self.graph, [e for cost in costs for e in self._edge_costs(cost)])

    def _edge_costs(self, cost: CostFunction) -> list[Floats]:
        """[N, C] what each choice adds to a cost, or to each of its parts, or to its fit.

        Decoding under a fit aims well, and `generate` checks every architecture by the cost
        itself.
        """
        graph = self.graph
        if isinstance(cost, LongestCost):
            return [part.edge_costs(graph) for part in cost.parts]
        if isinstance(cost, AdditiveCost):
            return [cost.edge_costs(graph)]
        if graph.is_tree:  # so that any function of a path is one of its last choice
            nodes, choices, tokens = graph.endings()
            edges = np.zeros(graph.successor.shape)
            edges[nodes, choices] = cost(tokens)
            return [edges]
        tokens = self.space.sample(FIT_SAMPLES, np.random.default_rng(0))
        n_choices = [len(position.choices) for position in self.space.positions]
        return [fit_additive(graph.joint, n_choices, tokens, cost(tokens)).edge_costs(graph)]

    @cached_property
    def reachable_ms(self) -> tuple[float, float]:
        """Cost of the cheapest and of the dearest architecture."""
        # by the cost function itself, which may round otherwise than the sum along a path
        low_ms = float(self.cost(self.ends[:1])[0])
        if self.constraints.n_bounds > 1:  # decoding must be able to end within it
            low_ms = max(low_ms, float(self.constraints.lowest_bound))
        high_ms = float(self.cost(self.ends).max())
        return low_ms, max(high_ms, float(self.constraints.reachable[:, 1].max()))

    @cached_property
    def ends(self) -> Tokens:
        """[m, L] the cheapest and the dearest architecture, on a queued device by each end."""
        return np.concatenate([self._cheapest, self.constraints.dearest()])

    @cached_property
    def reference_point(self) -> tuple[float, float]:
        """Cost of the dearest and accuracy of the cheapest architecture.

        Where hypervolumes are measured from: fixed by the problem, whatever a search finds.
        """
        return self.reachable_ms[1], float(self.accuracy.top1(self._cheapest)[0])

    @cached_property
    def _cheapest(self) -> Tokens:
        """[1, L]"""
        return self.sample_within(self.constraints.lowest_bound[None], np.random.default_rng(0))

    def sample_within(self, budgets_ms: Floats, rng: np.random.Generator) -> Tokens:
        """[n, L] architectures, one below each budget: open choices drawn uniformly."""
        bounds = np.asarray(budgets_ms)[:, None]
        return decode(self.constraints, bounds, UniformPolicy(self.graph.n_choices), rng)
