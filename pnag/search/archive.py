"""Every architecture whose accuracy was asked for, once each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pnag.search.constraints import Bools
from pnag.search.frontier import non_dominated
from pnag.search.problem import Problem
from predictors.base import Floats
from profiler.spaces.base import Tokens
from profiler.spaces.decisions import Ints


@dataclass(frozen=True)
class Archive:
    """M distinct evaluated architectures; M counts against the budget of evaluations."""

    tokens: Tokens  # [M, L]
    top1: Floats  # [M]
    cost_ms: Floats  # [M]

    @classmethod
    def empty(cls, n_positions: int) -> Archive:
        return cls(np.zeros((0, n_positions), np.int8), np.zeros(0), np.zeros(0))

    @classmethod
    def joined(cls, archives: Iterable[Archive], cost: Callable[[Tokens], Floats]) -> Archive:
        """All rows of archives, at their costs by another cost function or the same."""
        every = list(archives)
        tokens = np.concatenate([archive.tokens for archive in every])
        return cls(tokens, np.concatenate([archive.top1 for archive in every]), cost(tokens))

    def __len__(self) -> int:
        return len(self.tokens)

    def kept(self, rows: Bools) -> Archive:
        """The rows that a mask [M] holds."""
        return Archive(self.tokens[rows], self.top1[rows], self.cost_ms[rows])

    @cached_property
    def _front(self) -> Ints:
        return non_dominated(self.cost_ms, self.top1)

    def best_within(self, budgets_ms: Floats) -> Ints:
        """[n] the most accurate row within each budget, -1 where none is."""
        place = np.searchsorted(self.cost_ms[self._front], budgets_ms, side="right")
        return np.concatenate([[-1], self._front])[place]

    def unseen(self, tokens: Tokens) -> Tokens:
        """The distinct ones among [n, L] tokens that are not yet here, in order."""
        known = {row.tobytes() for row in self.tokens}
        fresh: dict[bytes, int] = {}
        for index, row in enumerate(tokens):
            key = row.tobytes()
            if key not in known:
                fresh.setdefault(key, index)
        return tokens[list(fresh.values())]

    def extended(self, tokens: Tokens, problem: Problem) -> Archive:
        """This archive and [n, L] new architectures, evaluated now."""
        return Archive(
            np.concatenate([self.tokens, tokens]),
            np.concatenate([self.top1, problem.accuracy.top1(tokens)]),
            np.concatenate([self.cost_ms, problem.cost(tokens)]),
        )

    def fronts(self, n_fronts: int) -> list[Ints]:
        """Indices of the first fronts by rising cost, each non-dominated without those before."""
        rest, fronts = np.arange(len(self)), []
        for _ in range(n_fronts):
            if not len(rest):
                break
            chosen = non_dominated(self.cost_ms[rest], self.top1[rest])
            fronts.append(rest[chosen])
            rest = np.delete(rest, chosen)
        return fronts

    def elites(self, budgets_ms: Floats, n_fronts: int) -> tuple[Ints, Ints]:
        """Best architectures within each budget, one from each front that has one.

        Returns:
            Indices into the archive and into `budgets_ms`, of equal length.
        """
        chosen, owners = [], []
        for front in self.fronts(n_fronts):
            place = np.searchsorted(self.cost_ms[front], budgets_ms, side="right") - 1
            owner = np.flatnonzero(place >= 0)
            chosen.append(front[place[owner]])
            owners.append(owner)
        return np.concatenate(chosen), np.concatenate(owners)
