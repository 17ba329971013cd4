"""What is searched: a space, the cost under a budget, and the accuracy to reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pnag.decode import Constraints, UniformPolicy, decode
from pnag.tokens import NotAdditiveError, TokenGraph, token_graph
from predictors.additive_fit import fit_additive
from predictors.base import AccuracyModel, CostFunction, Floats
from profiler.space import SearchSpace, Tokens

FIT_SAMPLES = 4000


@dataclass(frozen=True)
class Problem:
    """One search: accuracy against one cost over one space."""

    space: SearchSpace
    cost: CostFunction
    accuracy: AccuracyModel

    @cached_property
    def graph(self) -> TokenGraph:
        return token_graph(self.space)

    @cached_property
    def constraints(self) -> Constraints:
        """The budget alone; exact for an additive cost, else by its best additive fit."""
        return Constraints.of(self.graph, [self._edges])

    def constraints_with(self, others: Sequence[CostFunction]) -> Constraints:
        """Bounds on the cost and on others beside it."""
        if not others:
            return self.constraints
        edges = [self.graph.edge_costs(cost) for cost in others]
        return Constraints.of(self.graph, [self._edges, *edges])

    @cached_property
    def _edges(self) -> Floats:
        """[N, C] edge costs of the cost, or of its additive fit: decoding under a fit aims
        well, and `generate` checks every architecture by the cost itself."""
        try:
            return self.graph.edge_costs(self.cost)
        except NotAdditiveError:
            tokens = self.space.sample(FIT_SAMPLES, np.random.default_rng(0))
            return self.graph.edge_costs(fit_additive(tokens, self.cost(tokens), self.cost.unit))

    @cached_property
    def reachable_ms(self) -> tuple[float, float]:
        """Cost of the cheapest and of the dearest architecture."""
        # by the cost function itself, which may round otherwise than the sum along a path
        return float(self.cost(self._cheapest)[0]), float(self.constraints.reachable[0, 1])

    @cached_property
    def reference_point(self) -> tuple[float, float]:
        """Cost of the dearest and accuracy of the cheapest architecture.

        Where hypervolumes are measured from: fixed by the problem, whatever a search finds.
        """
        return self.reachable_ms[1], float(self.accuracy.top1(self._cheapest)[0])

    @cached_property
    def _cheapest(self) -> Tokens:
        """[1, L]"""
        lowest = self.constraints.reachable[0, :1]
        return self.sample_within(lowest, np.random.default_rng(0))

    def sample_within(self, budgets_ms: Floats, rng: np.random.Generator) -> Tokens:
        """[n, L] architectures, one below each budget: open choices drawn uniformly."""
        bounds = np.asarray(budgets_ms)[:, None]
        return decode(self.constraints, bounds, UniformPolicy(self.graph.n_choices), rng)
