"""What is searched: a space, the cost under a budget, and the accuracy to reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pnag.search.constraints import ROUNDING, Constraints
from pnag.search.decoding import decode
from pnag.search.policies import UniformPolicy
from predictors.base import AccuracyModel, CostFunction, Floats
from predictors.cost import AdditiveCost, LongestCost, fit_additive, madds_cost, params_cost
from profiler.errors import InvalidInputError
from profiler.spaces.base import SearchSpace, Tokens
from profiler.spaces.decisions import DecisionGraph, decision_graph
from profiler.spaces.networks import with_networks

FIT_SAMPLES = 4000
COUNTS = {"madds": madds_cost, "params": params_cost}  # what networks cost without measuring


@dataclass(frozen=True)
class Problem:
    """One search: accuracy against one cost over one space.

    Attributes:
        further: other costs by name, which may be bounded beside it.
        cost_name: that of the one cost.
    """

    space: SearchSpace
    cost: CostFunction
    accuracy: AccuracyModel
    further: Mapping[str, CostFunction] = field(default_factory=dict)
    cost_name: str = "latency"

    @cached_property
    def graph(self) -> DecisionGraph:
        return decision_graph(self.space)

    @cached_property
    def constraints(self) -> Constraints:
        """The budget alone: one bound, or on a queued device the same one on both ends.

        Exact for an additive cost and the longest of several, else by the best additive fit.
        """
        return Constraints.of(self.graph, self._edge_costs(self.cost))

    def constraints_with(self, names: tuple[str, ...]) -> Constraints:
        """Bounds on the cost and on further ones beside it."""
        if not names:
            return self.constraints
        if names not in self._constraints_with:
            costs = [self.cost, *(self.further_cost(name) for name in names)]
            edges = [edge_costs for cost in costs for edge_costs in self._edge_costs(cost)]
            self._constraints_with[names] = Constraints.of(self.graph, edges)
        return self._constraints_with[names]

    def further_cost(self, name: str) -> CostFunction:
        """A cost that may be bounded beside the one: a further one, or a count of networks.

        Raises:
            InvalidInputError: there is none of that name, or the space has no networks.
        """
        if name in self.further:
            return self.further[name]
        if name == self.cost_name:
            raise InvalidInputError(f"{name} is what the budgets bound; bounds are of other costs")
        if name not in COUNTS:
            known = ", ".join([self.cost_name, *self.further, *COUNTS])
            raise InvalidInputError(f"there is no cost {name!r} here; there are: {known}")
        if name not in self._counts:
            space = with_networks(self.space, "to count MAdds or parameters of")
            self._counts[name] = COUNTS[name](space)
        return self._counts[name]

    @cached_property
    def _constraints_with(self) -> dict[tuple[str, ...], Constraints]:
        return {}

    @cached_property
    def _counts(self) -> dict[str, CostFunction]:
        return {}

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
        low_ms, decoded_ms = float(self.cost(self.ends[:1])[0]), self.constraints.lowest_bound
        if decoded_ms > low_ms * (1 + ROUNDING):  # decoding must be able to end within it
            low_ms = float(decoded_ms)
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
