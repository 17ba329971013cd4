"""The evaluator R(α | B; w): three fully connected layers that rank architectures (section 3.2)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pnag.learning.rewards import Ranks
from pnag.search.budget import BudgetGrid
from pnag.search.policies import Floats32
from predictors.base import Floats
from profiler.spaces.base import DEAD, SearchSpace, Tokens


class Evaluator(nn.Module):
    """Scores architectures under budgets; only their order within one budget has a meaning.

    Inputs are the one-hot tokens (dead ones all zero), the budget's embedding, and how the
    architecture's cost lies to the budget: c(α) is known, and need not be learnt from tokens.
    """

    def __init__(
        self, space: SearchSpace, grid: BudgetGrid, *, span_ms: float, n_hidden: int = 128
    ) -> None:
        """`span_ms`, the width of the reachable range, is the unit of c(α) - B."""
        super().__init__()
        self.grid = grid
        self.n_choices = max(len(position.choices) for position in space.positions)
        self.span_ms = span_ms
        n_tokens = len(space.positions) * self.n_choices
        self.budget = nn.Parameter(0.1 * torch.randn(len(grid.anchors_ms), n_hidden))
        self.from_tokens = nn.Linear(n_tokens, n_hidden)
        self.from_cost = nn.Linear(2, n_hidden, bias=False)
        self.hidden = nn.Linear(n_hidden, n_hidden)
        self.score = nn.Linear(n_hidden, 1)

    def one_hot(self, tokens: Tokens) -> Tensor:
        """[M, L · C] float32 of [M, L] tokens."""
        codes = np.where(tokens == DEAD, self.n_choices, tokens)
        eye = np.eye(self.n_choices + 1, self.n_choices, dtype=np.float32)
        return torch.from_numpy(eye[codes].reshape(len(tokens), -1))

    def forward(self, one_hot: Tensor, cost_ms: Floats, budgets_ms: Floats) -> Tensor:
        """[K, M] scores of M architectures under K budgets."""
        return self._scores(
            self.from_tokens(one_hot)[None, :, :], cost_ms[None, :], budgets_ms[:, None]
        )

    def score_pairs(self, tokens: Tokens, cost_ms: Floats, budgets_ms: Floats) -> Floats32:
        """[n] scores of n architectures, each under its own budget."""
        with torch.no_grad():
            first = self.from_tokens(self.one_hot(tokens))
            scores: Floats32 = self._scores(first, cost_ms, budgets_ms).numpy()
        return scores

    def _scores(self, first: Tensor, cost_ms: Floats, budgets_ms: Floats) -> Tensor:
        excess = (cost_ms - budgets_ms) / self.span_ms
        seen = np.stack([excess, np.sign(excess)], axis=-1).astype(np.float32)
        shape = budgets_ms.shape
        mixing = torch.from_numpy(self.grid.weights(budgets_ms.reshape(-1)))
        embedded = (mixing @ self.budget).view(*shape, -1)
        hidden = torch.relu(first + embedded + self.from_cost(torch.from_numpy(seen)))
        scores: Tensor = self.score(torch.relu(self.hidden(hidden))).squeeze(-1)
        return scores


def kendall_tau(scores: Floats32 | Floats, ranks: Ranks) -> float:
    """Kendall's τ-b between scores (high is good) and ranks (0 is best)."""
    from scipy.stats import kendalltau

    return float(kendalltau(scores, -ranks).statistic)
